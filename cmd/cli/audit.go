package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"holdfast/cmd/render"
	"holdfast/playbooks/source"
	"holdfast/runner"
	"holdfast/runner/audit"
	"holdfast/runner/event"
	"holdfast/runner/history"
	"holdfast/runner/load"
	"holdfast/tasks/task"
)

// auditing are the flags of audit.
type auditing struct {
	*playOptions
	html    string
	history bool
	most    int
}

func newAuditCmd(env *Env) *cobra.Command {
	a := &auditing{playOptions: newPlayOptions(env)}
	cmd := &cobra.Command{
		Use:   "audit [HOST]",
		Short: "Judge hosts by the scorecard, with evidence, and compare with the last time",
		Long: `Audit runs the playbook audit, which only looks: each line of the scorecard says what
was looked at, what was found, what was wanted and how to mend it. It works on hosts
that Holdfast never touched, changes nothing and installs nothing; lynis and
ssh-audit are asked where they are installed. HOST may be a group or a pattern.

A line passes, fails, is a warning, an accepted risk (with its reason), not applicable
or not known: then it could not be looked at. The exit status is 5 when a line failed
or is not known, 6 when a host could not be reached, and 0 otherwise.

The result is kept in the history on this machine and compared with the last one.
A playbook audit in the project's own folder takes the place of the shipped one.`,
		Example: `  holdfast audit web1
  holdfast audit -i web1.example.org, --accept-new      # a host that is in no inventory
  holdfast audit --html scorecard.html                  # every host, as one page
  holdfast audit web1 -p judges=false -p public_ports='[443]'
  holdfast audit web1 --history
  holdfast audit --output json | jq -r '.host as $h | .lines[] | select(.state == "fail") | "\($h) \(.id)"'`,
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return a.fleet.completeHosts(cmd, args, typed)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := ensureFormat(a.output.format); err != nil {
				return err
			}
			a.fleet.limit = append(args, a.fleet.limit...)
			if a.history {
				return a.past(cmd.Context())
			}
			return a.audit(cmd.Context())
		},
	}
	a.choices(cmd)
	cmd.Flags().StringVarP(&a.output.format, "output", "o", "text", "text or json (one host a line)")
	complete(cmd, "text", "json")
	cmd.Flags().BoolVarP(&a.output.verbose, "verbose", "v", false, "show the evidence of lines that pass and why others do not apply, too")
	cmd.Flags().StringVar(&a.html, "html", "", "write the scorecard to this file too, as one page that needs nothing else")
	cmd.Flags().BoolVar(&a.history, "history", false, "show what earlier audits came to; no host is contacted")
	cmd.Flags().IntVarP(&a.most, "number", "n", 20, "how many earlier audits to show of each host, the newest; 0 is all")
	cmd.MarkFlagsMutuallyExclusive("history", "html")
	return cmd
}

// auditPlaybook is the playbook that an audit runs.
const auditPlaybook = "audit"

func (a *auditing) audit(ctx context.Context) error {
	pb, bound, hosts, blobs, err := a.load(auditPlaybook)
	if err != nil {
		return err
	}
	lines := planned(pb.Verify)
	if len(lines) == 0 {
		return usagef("its verify section needs tasks with the module finding", "the playbook %s makes no line of a scorecard", pb.Lang.Origin)
	}
	collector := audit.NewCollector(lines)
	a.reader = &auditReader{collector, a.env}
	done, err := a.engine(ctx, runner.Options{Mode: event.Verify, Playbook: pb, Bound: bound, Hosts: hosts, Blobs: blobs})
	if err != nil {
		return err
	}
	reports := collector.Reports()
	if err := a.keep(ctx, reports); err != nil {
		a.env.warn(err.Error(), "the scorecard is not in the history; HOLDFAST_HISTORY names another folder, or none")
	}
	if err := a.show(reports); err != nil {
		return err
	}
	if a.html != "" {
		if err := a.page(reports); err != nil {
			return err
		}
	}
	return finish(event.RunFinished{Code: auditCode(done.Code, reports)})
}

// auditReader makes reports of the events of a run.
type auditReader struct {
	*audit.Collector
	env *Env
}

// Emit takes in an event. What a person should know is said at once.
func (r *auditReader) Emit(e event.Event) {
	r.Collector.Emit(e)
	if w := e.Warning; w != nil {
		message := w.Message
		if e.Host != "" {
			message = e.Host + ": " + message
		}
		r.env.warn(message, w.Hint)
	}
}

// Close implements [render.Renderer].
func (r *auditReader) Close() error { return nil }

// planned returns the lines that tasks will make, as far as the playbook tells.
func planned(nodes []*load.Node) []audit.Planned {
	var out []audit.Planned
	for _, n := range nodes {
		if n.Module != nil && n.Module.Name == "finding" && n.Each == nil {
			text := func(key string) string {
				if v := n.Entry.Args.Get(key); v != nil && v.Kind == source.Scalar {
					return v.Text
				}
				return ""
			}
			out = append(out, audit.Planned{Path: n.Path, Finding: task.Finding{ID: text("id"), Section: text("section"), Title: text("title"), Looked: text("looked"), Hint: text("hint")}})
		}
		out = append(out, planned(n.Tasks)...)
		if n.Use != nil {
			out = append(out, planned(n.Use.Tasks)...)
		}
	}
	return out
}

// auditCode is the exit status. A line that is wrong weighs more than a host that
// could not be reached, as in every other command.
func auditCode(run int, reports []*audit.Report) int {
	code := runner.CodeOK
	for _, r := range reports {
		switch {
		case r.Bad() && !r.Lost, r.Error != "" && !r.Lost:
			code = runner.CodeFailed
		case r.Lost && code == runner.CodeOK:
			code = runner.CodeUnreachable
		}
	}
	if run == runner.CodeInterrupted || run == runner.CodeInternal {
		return run
	}
	return code
}

// keep compares each report with the last one of its host and stores it. A host that
// was not audited to its end is not compared: its lines would seem to be gone.
func (a *auditing) keep(ctx context.Context, reports []*audit.Report) error {
	h, err := a.env.history(ctx)
	if err != nil || h == nil {
		return err
	}
	defer h.Close() //nolint:errcheck // what was put is stored
	for _, r := range reports {
		if r.Error != "" || len(r.Lines) == 0 {
			continue
		}
		last, err := a.stored(ctx, h, r.Host, 1)
		if err != nil {
			return err
		}
		if len(last) > 0 {
			r.Since = audit.Compare(last[0], r)
		}
		body, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("cannot keep the scorecard: %w", err)
		}
		if text := a.env.redactor.String(string(body)); json.Valid([]byte(text)) {
			body = []byte(text)
		} else {
			return fmt.Errorf("cannot keep the scorecard of %s without what must not be seen", r.Host)
		}
		if err := h.Put(ctx, &history.Document{Kind: audit.Kind, Host: r.Host, Time: r.Time, Run: r.Run, Body: body}); err != nil {
			return err
		}
	}
	return nil
}

// stored returns the newest reports of a host that can be read.
func (a *auditing) stored(ctx context.Context, h *history.DB, host string, most int) ([]*audit.Report, error) {
	docs, err := h.List(ctx, history.Query{Kind: audit.Kind, Host: host, Limit: most})
	if err != nil {
		return nil, err
	}
	var out []*audit.Report
	for _, d := range docs {
		r := &audit.Report{}
		if err := json.Unmarshal(d.Body, r); err != nil || r.Format > audit.Format {
			a.env.warn(fmt.Sprintf("the scorecard of %s of %s cannot be read and is left out", host, moment(d.Time)), "")
			continue
		}
		out = append(out, r)
	}
	return out, nil
}

func (a *auditing) show(reports []*audit.Report) error {
	out := a.env.redactor.Writer(a.env.Stdout)
	err := a.write(out, reports)
	return firstOf(err, out.Close())
}

func (a *auditing) write(out io.Writer, reports []*audit.Report) error {
	if a.output.format != "json" {
		return render.Audit(out, reports, render.AuditOptions{Color: a.env.isTerminal() && a.env.Getenv("NO_COLOR") == "", Verbose: a.output.verbose})
	}
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	for _, r := range reports {
		if err := enc.Encode(r); err != nil {
			return err
		}
	}
	return nil
}

// page writes the page beside its place first, so that nobody sees half of it. It
// tells of weak places, so that it is for its owner alone.
func (a *auditing) page(reports []*audit.Report) error {
	name := a.env.path(a.html)
	f, err := os.CreateTemp(filepath.Dir(name), ".scorecard-")
	if err != nil {
		return fmt.Errorf("cannot write the page: %w", err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // it is gone when all went well
	out := a.env.redactor.Writer(f)
	err = firstOf(render.AuditHTML(out, reports, a.env.Now()), firstOf(out.Close(), f.Close()))
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return fmt.Errorf("cannot write the page: %w", err)
	}
	return nil
}
