package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"holdfast/inventory"
	"holdfast/runner"
	"holdfast/runner/remote"
	"holdfast/runner/wire"
)

// asking are the flags of the commands that ask hosts what they remember.
type asking struct {
	env    *Env
	fleet  *fleet
	format string
	forks  int
	noRoot bool
}

func newAsking(env *Env) *asking { return &asking{env: env, fleet: env.fleet()} }

func (a *asking) flags(cmd *cobra.Command) {
	a.fleet.flags(cmd)
	cmd.Flags().StringVarP(&a.format, "output", "o", "text", "text or json (one host a line)")
	complete(cmd, "text", "json")
	cmd.Flags().IntVarP(&a.forks, "forks", "f", runner.DefaultForks, "hosts to ask at a time")
	cmd.Flags().BoolVar(&a.noRoot, "no-root", false, "stay the account that logs in instead of becoming root")
}

// answer is what one host said.
type answer struct {
	host string
	wire.Answer
	err error
}

// ask puts a question to all hosts that are selected, in the order of the inventory.
// Hosts that could not be asked are reported; the error is then the one to end with,
// after the answers of the others were shown.
func (a *asking) ask(ctx context.Context, q wire.Ask) (answers []answer, failed, err error) {
	if a.format != "text" && a.format != "json" {
		return nil, nil, usagef("--output text or --output json", "unknown output %q", a.format)
	}
	hosts, faults := a.fleet.hosts()
	if len(faults) > 0 {
		return nil, nil, faults.Err()
	}
	bins, err := binaries()
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := a.env.untilStopped(ctx)
	defer cancel()
	all := make([]answer, len(hosts))
	var g errgroup.Group
	g.SetLimit(max(1, a.forks))
	for i, h := range hosts {
		all[i].host = h.Name
		g.Go(func() error {
			all[i].Answer, all[i].err = a.host(ctx, h, bins, q)
			return nil
		})
	}
	_ = g.Wait() // the functions keep their errors in answers
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	for _, x := range all {
		if x.err == nil {
			answers = append(answers, x)
			continue
		}
		failed = worse(failed, a.missed(x))
		if a.format == "json" {
			answers = append(answers, x)
		}
	}
	return answers, failed, nil
}

// missed reports a host that gave no answer and returns the status that goes with it.
func (a *asking) missed(x answer) error {
	hint := ""
	var unreachable *remote.Unreachable
	var refused *remote.Refused
	code := runner.CodeUnreachable
	switch {
	case errors.As(x.err, &unreachable):
		hint = unreachable.Hint
	case errors.As(x.err, &refused):
		hint, code = refused.Hint, runner.CodeFailed
	}
	a.env.errorLine(x.host + ": " + strings.TrimPrefix(x.err.Error(), x.host+": "))
	if hint != "" {
		a.env.line("hint", hint)
	}
	return &exit{code}
}

// worse returns the heavier of two ends.
func worse(a, b error) error {
	var x, y *exit
	switch {
	case a == nil:
		return b
	case errors.As(a, &x) && errors.As(b, &y) && x.code == runner.CodeUnreachable:
		return b
	}
	return a
}

// host asks one host. It takes no lock there and writes nothing but the helper's cache.
func (a *asking) host(ctx context.Context, h *inventory.Host, bins remote.Binaries, q wire.Ask) (answer wire.Answer, err error) {
	conn, err := a.fleet.connect(ctx, h)
	if err != nil {
		return answer, remote.AsUnreachable(h.Name, err)
	}
	defer conn.Close() //nolint:errcheck // nothing was written
	o := a.fleet.session(bins, !a.noRoot)(h)
	o.Hello = wire.Hello{Run: "ask", Mode: "ask"}
	s, err := remote.Open(ctx, conn, o)
	if err != nil {
		return answer, err
	}
	defer s.Close() //nolint:errcheck // nothing was written
	got, err := s.Ask(ctx, q)
	if err == nil {
		answer = *got
	}
	return answer, err
}

// asked is one host in JSON.
type asked struct {
	Host     string           `json:"host"`
	Error    string           `json:"error,omitempty"`
	Runs     *[]wire.Run      `json:"runs,omitempty"`
	Run      *hostRun         `json:"run,omitempty"`
	Resource *wire.Resource   `json:"resource,omitempty"`
	Receipts *[]wire.Receipt  `json:"receipts,omitempty"`
	Ledger   *wire.LedgerLook `json:"ledger,omitempty"`
	Broken   *bool            `json:"broken,omitempty"`
}

// lines writes answers as JSON, one host a line. fill puts in what the command is about.
func lines(to io.Writer, answers []answer, fill func(*answer, *asked)) error {
	enc := json.NewEncoder(to)
	enc.SetEscapeHTML(false)
	for i := range answers {
		line := asked{Host: answers[i].host}
		if err := answers[i].err; err != nil {
			line.Error = err.Error()
		} else {
			fill(&answers[i], &line)
		}
		if err := enc.Encode(line); err != nil {
			return err
		}
	}
	return nil
}

// list is a list that JSON shows as one even when it is empty.
func list[T any](in []T) *[]T {
	if in == nil {
		in = []T{}
	}
	return &in
}

// moment writes a time of a host for people, in their own zone.
func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// playbook names what was run.
func playbook(name, version string) string {
	if name == "" {
		return "-"
	}
	return strings.TrimSpace(name + " " + version)
}

// person names who ran it.
func person(user, controller string) string {
	switch {
	case user == "" && controller == "":
		return "-"
	case controller == "":
		return user
	}
	return user + "@" + controller
}

// shown shortens the digests of a fingerprint: people compare them, they do not type them.
func shown(print string) string {
	words := strings.Fields(print)
	out := words[:0]
	for _, w := range words {
		key, value, ok := strings.Cut(w, "=")
		switch {
		case w == "-", ok && value == "":
			continue
		case ok && len(value) > 12 && (key == "sha256" || key == "masked"):
			w = key + "=" + value[:12]
		}
		out = append(out, w)
	}
	return strings.Join(out, " ")
}

// fromTo writes a change of a fingerprint.
func fromTo(before, after string, unfinished bool) string {
	b, c := shown(before), shown(after)
	switch {
	case unfinished && b == "":
		return "cut off"
	case unfinished:
		return b + " → cut off, not known"
	case b == c:
		return b
	case b == "":
		return c
	case c == "":
		return b + " → not known"
	}
	return fmt.Sprintf("%s → %s", b, c)
}
