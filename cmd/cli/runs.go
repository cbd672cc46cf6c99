package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/cmd/render"
	"holdfast/runner"
	"holdfast/runner/wire"
)

func newRunsCmd(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "runs",
		Short: "Look at past runs and go on with them",
		Long: `The machine that runs are started from keeps a history of them: half a year or 512 MB,
whichever is less, in $XDG_STATE_HOME/holdfast or the folder that HOLDFAST_HISTORY names
("none" for no history). Each host remembers its last runs, whoever started them, with all
that is needed to take them back: 20 runs, 30 days or 500 MB; --hosts asks the hosts.
To look takes no lock and changes nothing, so it also works while a run goes on; attach
and abort are for a run that goes on.`,
		Example: "  holdfast runs list\n  holdfast runs show last\n  holdfast runs list --hosts -i inventory.yml\n  holdfast runs attach 20261121-0830\n  holdfast runs abort 20261121-0830",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newRunsListCmd(env), newRunsShowCmd(env), newRunsAttachCmd(env), newRunsResumeCmd(env), newRunsAbortCmd(env))
	return cmd
}

func newRunsListCmd(env *Env) *cobra.Command {
	a := newAsking(env)
	l := listing{}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List past runs, newest first",
		Long: `List shows the runs that were started from here; -i and -l choose those that worked on
certain hosts. With --hosts it asks the hosts and shows each run once, with the hosts
that remember it; one that ended differently on some hosts has a line for each end. The
status is then succeeded, failed, interrupted, running, or died: nobody wrote its end.
Changes counts resources.`,
		Example: `  holdfast runs list
  holdfast runs list -l web1 --output json | jq -r 'select(.summary == null) | .id'
  holdfast runs list --hosts -l web1 --output json | jq -r '.runs[] | select(.status == "died") | .id'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !l.hosts {
				return a.pastList(cmd, l)
			}
			answers, failed, err := a.ask(cmd.Context(), wire.Ask{What: wire.AskRuns})
			if err != nil {
				return err
			}
			return firstOf(env.runsList(answers, a.format), failed)
		},
	}
	a.flags(cmd)
	l.flags(cmd)
	return cmd
}

func (env *Env) runsList(answers []answer, format string) error {
	if format == "json" {
		return lines(env.Stdout, answers, func(a *answer, line *asked) { line.Runs = list(a.Runs) })
	}
	rows := foldRuns(answers)
	if len(rows) == 0 {
		if len(answers) == 0 {
			return nil
		}
		_, err := fmt.Fprintf(env.Stdout, "no run is remembered on %s\n", render.Plural(len(answers), "host"))
		return err
	}
	_, err := fmt.Fprint(env.Stdout, render.Table([]string{"run", "playbook", "started", "by", "command", "status", "changes", "hosts"}, rows))
	return err
}

// foldRuns makes one row of what hosts say alike about a run, newest first.
func foldRuns(answers []answer) [][]string {
	type seen struct {
		run   wire.Run
		hosts []string
	}
	var all []*seen
	at := map[string]*seen{}
	for _, a := range answers {
		for _, r := range a.Runs {
			key := fmt.Sprintf("%q", []string{r.ID, ended(r), r.Playbook, r.Version, fmt.Sprint(r.Changes)})
			if at[key] == nil {
				at[key] = &seen{run: r}
				all = append(all, at[key])
			}
			at[key].hosts = append(at[key].hosts, a.host)
		}
	}
	slices.SortStableFunc(all, func(a, b *seen) int {
		if c := b.run.Started.Compare(a.run.Started); c != 0 && a.run.ID != b.run.ID {
			return c
		}
		return strings.Compare(b.run.ID, a.run.ID)
	})
	rows := make([][]string, len(all))
	for i, s := range all {
		r := s.run
		rows[i] = []string{r.ID, playbook(r.Playbook, r.Version), moment(r.Started), person(r.User, r.Controller), strings.TrimPrefix(r.Command, "holdfast "),
			ended(r), fmt.Sprint(r.Changes), someHosts(s.hosts)}
	}
	return rows
}

// ended says how a run ended, and what became of it.
func ended(r wire.Run) string {
	s := r.Status
	if r.UndoOf != "" {
		s += ", undo of " + r.UndoOf
	}
	if r.UndoneBy != "" {
		s += ", undone by " + r.UndoneBy
	}
	return s
}

// someHosts names a few hosts and counts the others.
func someHosts(hosts []string) string {
	if len(hosts) <= 4 {
		return strings.Join(hosts, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(hosts[:3], ", "), len(hosts)-3)
}

func newRunsShowCmd(env *Env) *cobra.Command {
	a := newAsking(env)
	hosts, o := false, output{}
	cmd := &cobra.Command{
		Use:   "show RUN",
		Short: "Show what a run did on each host",
		Long: `Show shows a run that was started from here as it showed itself. RUN is the name of a
run, the beginning of one (at least four characters), or "last", which is the newest
that was to change hosts. With --hosts it asks the hosts and lists the tasks that
changed something or ended badly, and for each what it did to which resource: the
fingerprint before and after; "last" is then the newest run of each host.`,
		Example: `  holdfast runs show last --diff
  holdfast runs show 20261121-083000-ab12cd34 --output json > run.jsonl
  holdfast runs show last --hosts -l web1 --output json | jq '.run.tasks[].changes[].resource'`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: env.completeRuns,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !hosts {
				o.format = a.format
				return env.pastShow(cmd.Context(), args[0], o)
			}
			answers, failed, err := a.ask(cmd.Context(), wire.Ask{What: wire.AskRun, Run: args[0]})
			if err != nil {
				return err
			}
			return firstOf(env.runsShow(answers, args[0], a.format), failed)
		},
	}
	a.flags(cmd)
	cmd.Flags().BoolVar(&hosts, "hosts", false, "ask the hosts what they remember, whoever started it")
	cmd.Flags().BoolVar(&o.diff, "diff", false, "show changes of content as a unified diff")
	cmd.Flags().BoolVarP(&o.verbose, "verbose", "v", false, "show tasks that change nothing too")
	return cmd
}

// hostRun is a run in JSON, as a host remembers it.
type hostRun struct {
	wire.Run
	Tasks []pastTask `json:"tasks"`
}

type pastTask struct {
	wire.PastTask
	Changes []wire.Change `json:"changes"`
}

// hostRunOf puts the changes of an answer to the tasks that made them.
func hostRunOf(a *answer) *hostRun {
	if len(a.Runs) == 0 {
		return nil
	}
	p := &hostRun{Run: a.Runs[0], Tasks: []pastTask{}}
	at := map[int]int{}
	for _, t := range a.Tasks {
		at[t.ID] = len(p.Tasks)
		p.Tasks = append(p.Tasks, pastTask{t, []wire.Change{}})
	}
	for _, c := range a.Changes {
		if i, ok := at[c.Task]; ok {
			p.Tasks[i].Changes = append(p.Tasks[i].Changes, c)
		}
	}
	return p
}

func (env *Env) runsShow(answers []answer, name, format string) error {
	known := 0
	for i := range answers {
		if len(answers[i].Runs) > 0 {
			known++
		}
	}
	var err error
	if format == "json" {
		err = lines(env.Stdout, answers, func(a *answer, line *asked) { line.Run = hostRunOf(a) })
	} else {
		for i := range answers {
			if err = showRun(env.Stdout, &answers[i], name, i > 0); err != nil {
				break
			}
		}
	}
	if err == nil && known == 0 && len(answers) > 0 {
		env.errorLine(fmt.Sprintf("no host that answered remembers a run %q", name))
		env.line("hint", "'holdfast runs list --hosts' shows those that are remembered")
		return &exit{runner.CodeFailed}
	}
	return err
}

func showRun(to io.Writer, a *answer, name string, apart bool) error {
	var b strings.Builder
	if apart {
		b.WriteString("\n")
	}
	p := hostRunOf(a)
	if p == nil {
		fmt.Fprintf(&b, "%s  remembers no run %q\n", a.host, name)
		_, err := io.WriteString(to, b.String())
		return err
	}
	fmt.Fprintf(&b, "%s  %s  %s  %s\n", a.host, p.ID, playbook(p.Playbook, p.Version), ended(p.Run))
	fmt.Fprintf(&b, "  %s, %s by %s\n", moment(p.Started), orDash(p.Command), person(p.User, p.Controller))
	for _, t := range p.Tasks {
		fmt.Fprintf(&b, "  %-9s  %s%s\n", t.Status, t.Name, where(t.Path))
		if t.Error != "" {
			fmt.Fprintf(&b, "             %s\n", t.Error)
		}
		for _, c := range t.Changes {
			fmt.Fprintf(&b, "             %s: %s", c.Resource, c.Did)
			if change := fromTo(c.Before, c.After, c.Unfinished); change != "" {
				fmt.Fprintf(&b, " (%s)", change)
			}
			b.WriteString("\n")
		}
	}
	_, err := io.WriteString(to, b.String())
	return err
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func where(path string) string {
	if path == "" {
		return ""
	}
	return "  [" + path + "]"
}
