package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/cmd/render"
	"holdfast/inventory"
	"holdfast/runner"
	"holdfast/runner/audit"
	"holdfast/runner/event"
	"holdfast/runner/history"
	"holdfast/runner/secrets"
	"holdfast/tasks/task"
)

// standing are the flags of status.
type standing struct {
	env      *Env
	fleet    *fleet
	format   string
	maxAge   string
	exitCode bool
}

func newStatusCmd(env *Env) *cobra.Command {
	s := &standing{env: env, fleet: env.fleet()}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how each host stands and what is overdue",
		Long: fmt.Sprintf(`Status shows, from the history of this machine, each host's last run, when it was last
verified, its last scorecard and the versions of the playbooks that were applied; and
what is overdue: hosts whose last run or verification did not end well, and secrets
that are to be replaced: 90 days after they were set unless their note says otherwise.
No host is contacted and nothing is decrypted. With --exit-code it exits with %d when
something is overdue; what ran from elsewhere is not known here ('holdfast runs list
--hosts' asks the hosts).`, runner.CodeFailed),
		Example: `  holdfast status
  holdfast status -l eu --max-age 30d --exit-code
  holdfast status --output json | jq -r 'select(.overdue) | .host // .secret'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return s.show(cmd.Context()) },
	}
	cmd.Flags().StringVarP(&s.fleet.inventory, "inventory", "i", "", "inventory file or folder, or hosts with a comma: web1,web2 (default inventory.yml here)")
	cmd.Flags().StringArrayVarP(&s.fleet.limit, "limit", "l", nil, `only these hosts: names, globs, groups, !not, &and, or CEL such as 'host.labels.role == "db"'`)
	if err := cmd.RegisterFlagCompletionFunc("limit", s.fleet.completeHosts); err != nil {
		panic(err) // the flag is defined right above
	}
	cmd.Flags().StringVarP(&s.format, "output", "o", "text", "text or json (one host or secret a line)")
	complete(cmd, "text", "json")
	cmd.Flags().StringVar(&s.maxAge, "max-age", "90d", "age at which a secret is overdue whose note says nothing else")
	cmd.Flags().BoolVar(&s.exitCode, "exit-code", false, fmt.Sprintf("exit with %d when something is overdue", runner.CodeFailed))
	return cmd
}

// hostStatus is how one host stands, and its line in JSON.
type hostStatus struct {
	Host      string            `json:"host"`
	Last      *standingRun      `json:"last_run,omitempty"`
	Verified  *standingRun      `json:"verified,omitempty"`
	Scorecard *scorecard        `json:"scorecard,omitempty"`
	Playbooks map[string]string `json:"playbooks"` // the version that was applied last
	Overdue   bool              `json:"overdue"`
	Reasons   []string          `json:"reasons,omitempty"`
}

type standingRun struct {
	Run      string     `json:"run"`
	Mode     event.Mode `json:"mode"`
	Playbook string     `json:"playbook,omitempty"`
	Version  string     `json:"version,omitempty"`
	About    string     `json:"about,omitempty"` // the run of an undo, an attach
	Started  time.Time  `json:"started"`
	Outcome  string     `json:"outcome"`
	Error    string     `json:"error,omitempty"`
}

type scorecard struct {
	Run    string       `json:"run"`
	Time   time.Time    `json:"time"`
	Counts audit.Counts `json:"counts"`
}

// secretStatus is how old a secret is, and its line in JSON.
type secretStatus struct {
	Secret  string     `json:"secret"`
	Scope   string     `json:"scope"`
	Set     *time.Time `json:"set,omitempty"`
	Due     *time.Time `json:"due,omitempty"`
	Overdue bool       `json:"overdue"`
	Note    string     `json:"note,omitempty"`
}

func (s *standing) show(ctx context.Context) error {
	if err := ensureFormat(s.format); err != nil {
		return err
	}
	var age task.Duration
	if err := age.UnmarshalText([]byte(s.maxAge)); err != nil {
		return usagef("such as --max-age 30d", "--max-age: %v", err)
	}
	chosen, faults := s.fleet.hosts()
	if len(faults) > 0 {
		return faults.Err()
	}
	hosts, err := s.hosts(ctx, chosen)
	if err != nil {
		return err
	}
	kept, err := s.secrets(chosen, age.Std())
	if err != nil {
		return err
	}
	if s.format == "json" {
		for _, h := range hosts {
			s.env.printJSON(h)
		}
		for _, k := range kept {
			s.env.printJSON(k)
		}
	} else {
		s.text(hosts, kept)
	}
	overdue := slices.ContainsFunc(hosts, func(h *hostStatus) bool { return h.Overdue }) || slices.ContainsFunc(kept, func(k secretStatus) bool { return k.Overdue })
	if s.exitCode && overdue {
		return &exit{runner.CodeFailed}
	}
	return nil
}

// hosts tells of each host what the history knows, which may be nothing.
func (s *standing) hosts(ctx context.Context, chosen []*inventory.Host) ([]*hostStatus, error) {
	runs, cards := map[string][]history.LastRun{}, map[string]*scorecard{}
	if dir := s.env.historyDir(); dir != "" {
		h, err := history.OpenExisting(ctx, dir)
		switch {
		case history.Missing(err):
		case err != nil:
			return nil, err
		default:
			defer h.Close() //nolint:errcheck // only read
			if runs, err = h.LastRuns(ctx, event.Apply, event.Undo, event.Attach, event.Verify); err != nil {
				return nil, err
			}
			if cards, err = s.scorecards(ctx, h); err != nil {
				return nil, err
			}
		}
	}
	out := make([]*hostStatus, len(chosen))
	for i, host := range chosen {
		out[i] = standingOf(host.Name, runs[host.Name])
		out[i].Scorecard = cards[host.Name]
	}
	return out, nil
}

// standingOf judges the runs of a host, the newest first.
func standingOf(host string, runs []history.LastRun) *hostStatus {
	out := &hostStatus{Host: host, Playbooks: map[string]string{}}
	for _, r := range runs {
		one := &standingRun{Run: r.Run, Mode: r.Mode, Playbook: r.Playbook, Version: r.Version, About: r.About, Started: r.Started, Outcome: outcomeOn(r), Error: r.Error}
		acts := r.Mode != event.Verify
		switch {
		case acts && out.Last == nil:
			out.Last = one
			out.judge(r, "its last run, "+one.title())
		// An audit has a column of its own, and lines that fail are no failure to look.
		case !acts && out.Verified == nil && r.Playbook != auditPlaybook:
			out.Verified = one
			out.judge(r, "its last verification, "+playbook(r.Playbook, r.Version))
		}
		if _, newer := out.Playbooks[r.Playbook]; r.Mode == event.Apply && r.Status == event.HostOK && !newer {
			out.Playbooks[r.Playbook] = r.Version
		}
	}
	return out
}

// title says what was done.
func (r *standingRun) title() string {
	if r.About != "" && r.Playbook == "" {
		return string(r.Mode) + " of " + r.About
	}
	return string(r.Mode) + " " + playbook(r.Playbook, r.Version)
}

// judge adds why the host wants a look.
func (h *hostStatus) judge(r history.LastRun, what string) {
	if r.Alive || r.Status == event.HostOK || r.Status == event.HostDetached {
		return
	}
	why := what + ", " + outcomeOn(r)
	if r.Error != "" {
		why += ": " + r.Error
	}
	h.Overdue, h.Reasons = true, append(h.Reasons, why+" ("+r.Run+")")
}

// outcomeOn says how a run ended on a host.
func outcomeOn(r history.LastRun) string {
	switch {
	case r.Alive:
		return "at work"
	case r.Status == "":
		return "ended without a word"
	case r.Status == event.HostDetached:
		return "goes on alone"
	}
	return string(r.Status)
}

// scorecards returns the newest of each host that can be read.
func (s *standing) scorecards(ctx context.Context, h *history.DB) (map[string]*scorecard, error) {
	docs, err := h.Latest(ctx, audit.Kind)
	if err != nil {
		return nil, err
	}
	out := map[string]*scorecard{}
	for _, d := range docs {
		var r audit.Report
		if err := json.Unmarshal(d.Body, &r); err != nil || r.Format > audit.Format {
			s.env.warn(fmt.Sprintf("the scorecard of %s of %s cannot be read and is left out", d.Host, moment(d.Time)), "")
			continue
		}
		out[d.Host] = &scorecard{r.Run, d.Time, r.Counts()}
	}
	return out, nil
}

// secrets tells how old each secret is that the hosts may have. A project without a
// store has none.
func (s *standing) secrets(chosen []*inventory.Host, age time.Duration) ([]secretStatus, error) {
	store := s.env.store(nil)
	if _, err := os.Stat(store.Dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	refs, err := store.Refs()
	if err != nil {
		return nil, err
	}
	var out []secretStatus
	for _, ref := range refs {
		if !concerns(ref.Scope, chosen) {
			continue
		}
		info, err := store.Info(ref)
		if err != nil {
			info.Strange = err.Error()
		}
		out = append(out, s.secret(info, age))
	}
	return out, nil
}

// concerns reports whether one of the hosts may have a secret of a scope.
func concerns(scope secrets.Scope, chosen []*inventory.Host) bool {
	return scope == secrets.Fleet || slices.ContainsFunc(chosen, func(h *inventory.Host) bool {
		return scope.String() == secrets.KindHost+":"+h.Name || slices.ContainsFunc(h.Groups, func(g string) bool { return scope.String() == secrets.KindGroup+":"+g })
	})
}

func (s *standing) secret(i secrets.Info, age time.Duration) secretStatus {
	if i.RotateAfter == "" && !i.Set.IsZero() {
		i.Due = i.Set.Add(age)
		i.Overdue = !s.env.Now().Before(i.Due)
	}
	out := secretStatus{Secret: i.Ref.Name, Scope: i.Ref.Scope.String(), Overdue: i.Overdue, Note: i.Strange}
	if !i.Set.IsZero() {
		out.Set = &i.Set
	}
	if !i.Due.IsZero() {
		out.Due = &i.Due
	}
	return out
}

func (s *standing) text(hosts []*hostStatus, kept []secretStatus) {
	rows := make([][]string, len(hosts))
	for i, h := range hosts {
		rows[i] = append([]string{h.Host}, h.row()...)
	}
	fmt.Fprint(s.env.Stdout, render.Table([]string{"host", "last run", "when", "outcome", "verified", "scorecard"}, rows))
	var due []string
	for _, h := range hosts {
		for _, why := range h.Reasons {
			due = append(due, h.Host+": "+why)
		}
	}
	for _, k := range kept {
		if k.Overdue {
			due = append(due, s.dueSecret(k))
		}
	}
	if len(due) == 0 {
		fmt.Fprintf(s.env.Stdout, "\nnothing is overdue: %s, %s\n", render.Plural(len(hosts), "host"), render.Plural(len(kept), "secret"))
		return
	}
	fmt.Fprintf(s.env.Stdout, "\noverdue:\n  %s\n", strings.Join(due, "\n  "))
}

func (h *hostStatus) row() []string {
	out := []string{"never", "-", "-", "-", "-"}
	if r := h.Last; r != nil {
		out[0], out[1], out[2] = r.title(), moment(r.Started), r.Outcome
	}
	if r := h.Verified; r != nil {
		out[3] = moment(r.Started) + " " + r.Outcome
	}
	if c := h.Scorecard; c != nil {
		var parts []string
		for _, state := range []task.FindingState{task.FindingFail, task.FindingNotKnown, task.FindingWarning} {
			if n := c.Counts[state]; n > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", n, state))
			}
		}
		out[4] = moment(c.Time) + " " + strings.Join(parts, ", ")
		if len(parts) == 0 {
			out[4] += "all pass"
		}
	}
	return out
}

func (s *standing) dueSecret(k secretStatus) string {
	name := fmt.Sprintf("secret %s (%s): ", k.Secret, k.Scope)
	if k.Set == nil {
		return name + "nobody knows how old it is: " + k.Note
	}
	day := 24 * time.Hour
	return name + fmt.Sprintf("set %s ago, due %s", render.Plural(int(s.env.Now().Sub(*k.Set)/day), "day"), k.Due.Format("2006-01-02"))
}
