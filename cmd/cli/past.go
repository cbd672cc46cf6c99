package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/cmd/render"
	"holdfast/runner"
	"holdfast/runner/event"
	"holdfast/runner/history"
)

// acting are the modes of runs that may change hosts.
var acting = []event.Mode{event.Apply, event.Undo}

// pastRuns opens the history for a look. Without one there is nothing to look at,
// which is the fault of nobody.
func (env *Env) pastRuns(ctx context.Context) (*history.DB, error) {
	dir := env.historyDir()
	if dir == "" {
		return nil, usagef("HOLDFAST_HISTORY names its folder; with --hosts hosts are asked", "there is no history here")
	}
	h, err := history.OpenExisting(ctx, dir)
	if history.Missing(err) {
		return nil, &usage{errors.New("there is no history yet: no run was started from here"), "with --hosts hosts are asked what they remember"}
	}
	return h, err
}

// listing are the flags of runs list that are about the history.
type listing struct {
	hosts bool
	all   bool
	most  int
}

func (l *listing) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&l.hosts, "hosts", false, "ask the hosts what they remember, whoever started it")
	cmd.Flags().BoolVarP(&l.all, "all", "a", false, "runs that change nothing too: plans and verifications")
	cmd.Flags().IntVarP(&l.most, "number", "n", 20, "how many runs to show, the newest; 0 is all")
}

// pastList lists the runs that were started from here.
func (a *asking) pastList(cmd *cobra.Command, l listing) error {
	if err := ensureFormat(a.format); err != nil {
		return err
	}
	q := history.RunQuery{Limit: l.most, Modes: acting}
	if l.all {
		q.Modes = nil
	}
	if cmd.Flags().Changed("limit") || cmd.Flags().Changed("inventory") {
		hosts, faults := a.fleet.hosts()
		if len(faults) > 0 {
			return faults.Err()
		}
		for _, h := range hosts {
			q.Hosts = append(q.Hosts, h.Name)
		}
	}
	h, err := a.env.pastRuns(cmd.Context())
	if err != nil {
		return err
	}
	defer h.Close() //nolint:errcheck // nothing was written
	runs, err := h.Runs(cmd.Context(), q)
	if err != nil {
		return err
	}
	return a.env.showPast(runs, a.format)
}

func (env *Env) showPast(runs []history.Run, format string) error {
	if format == "json" {
		enc := json.NewEncoder(env.Stdout)
		enc.SetEscapeHTML(false)
		for i := range runs {
			if err := enc.Encode(&runs[i]); err != nil {
				return err
			}
		}
		return nil
	}
	if len(runs) == 0 {
		fmt.Fprintln(env.Stdout, "the history has no such run; --all shows plans and verifications too, --hosts asks hosts")
		return nil
	}
	rows := make([][]string, len(runs))
	for i := range runs {
		r := &runs[i]
		rows[i] = []string{r.ID, playbook(r.Playbook, r.Version), moment(r.Started), r.Person, string(r.Mode), outcomeOf(r), hostsOf(r)}
	}
	_, err := fmt.Fprint(env.Stdout, render.Table([]string{"run", "playbook", "started", "by", "mode", "outcome", "hosts"}, rows))
	return err
}

// outcomeOf says in a few words how a run ended.
func outcomeOf(r *history.Run) string {
	s := "ended without a word"
	switch f := r.Summary; {
	case r.Alive:
		s = "at work"
	case f == nil:
	case f.Code == runner.CodeOK && detached(r):
		s = "goes on alone"
	case f.Code == runner.CodeOK || f.Code == runner.CodeChanges:
		s = "ok"
	case f.Code == runner.CodeUnreachable:
		s = "unreachable hosts"
	case f.Code == runner.CodeRolledBack:
		s = "taken back"
	case f.Code == runner.CodeRollbackFailed:
		s = "NOT taken back"
	case f.Interrupted:
		s = "interrupted"
	default:
		s = "failed"
	}
	if r.Resumes != "" {
		s += ", resumes " + r.Resumes
	}
	switch {
	case r.About == "":
	case r.Mode == event.Attach:
		s += ", attached to " + r.About
	default:
		s += ", undo of " + r.About
	}
	return s
}

// detached reports whether hosts went on without the program.
func detached(r *history.Run) bool {
	return slices.ContainsFunc(r.Hosts, func(h history.Host) bool { return h.Status == event.HostDetached })
}

// hostsOf names hosts and counts the others, those that did not end well first.
func hostsOf(r *history.Run) string {
	var bad, good []string
	for _, h := range r.Hosts {
		switch h.Status {
		case event.HostOK:
			good = append(good, h.Name)
		case "":
			bad = append(bad, h.Name+" (no word)")
		default:
			bad = append(bad, h.Name+" ("+string(h.Status)+")")
		}
	}
	return someHosts(append(bad, good...))
}

// ensureFormat refuses an output that there is not.
func ensureFormat(format string) error {
	if format != "text" && format != "json" {
		return usagef("--output text or --output json", "unknown output %q", format)
	}
	return nil
}

// pastRun returns a run of the history by its name.
func pastRun(ctx context.Context, h *history.DB, name string, modes ...event.Mode) (*history.Run, error) {
	r, err := h.Find(ctx, name, modes...)
	hint := "'holdfast runs list --all' lists those of the history"
	switch {
	case errors.Is(err, history.ErrUnknown) && name == history.Last:
		return nil, usagef(hint, "the history has no run of that kind")
	case errors.Is(err, history.ErrUnknown):
		return nil, usagef(hint, "the history has no run %q", name)
	case errors.Is(err, history.ErrAmbiguous):
		return nil, usagef(hint, "several runs begin with %q", name)
	}
	return r, err
}

// pastShow shows a run as it showed itself.
func (env *Env) pastShow(ctx context.Context, name string, o output) error {
	if err := ensureFormat(o.format); err != nil {
		return err
	}
	h, err := env.pastRuns(ctx)
	if err != nil {
		return err
	}
	defer h.Close() //nolint:errcheck // nothing was written
	r, err := pastRun(ctx, h, name, acting...)
	if err != nil {
		return err
	}
	if o.format != "json" {
		fmt.Fprintf(env.Stdout, "%s by %s, started %s\n", r.Command, person(r.Person, r.Machine), moment(r.Started))
	}
	out := render.New(render.Options{Out: env.Stdout, Err: env.Stderr, Format: o.format, Color: env.isTerminal() && env.Getenv("NO_COLOR") == "", Diff: o.diff,
		Verbose: o.verbose, Width: env.width, Height: env.height, Now: env.Now})
	err = h.Events(ctx, r.ID, out.Emit)
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	switch {
	case r.Alive:
		env.line("hint", "the run is at work; what comes is shown where it was started")
	case r.Ended.IsZero() && r.Mode == event.Apply:
		env.line("hint", "'holdfast runs resume "+r.ID+"' goes on with it")
	}
	return nil
}

// completeRuns offers the runs of the history.
func (env *Env) completeRuns(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	out := []string{history.Last + "\tthe newest run"}
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	h, err := env.pastRuns(cmd.Context())
	if err != nil {
		return out, cobra.ShellCompDirectiveNoFileComp
	}
	defer h.Close() //nolint:errcheck // nothing was written
	runs, err := h.Runs(cmd.Context(), history.RunQuery{Modes: acting, Limit: 20})
	if err != nil {
		return out, cobra.ShellCompDirectiveNoFileComp
	}
	for i := range runs {
		out = append(out, runs[i].ID+"\t"+strings.TrimSpace(string(runs[i].Mode)+" "+playbook(runs[i].Playbook, runs[i].Version))+", "+outcomeOf(&runs[i]))
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
