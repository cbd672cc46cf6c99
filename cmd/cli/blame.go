package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/runner/wire"
)

func newBlameCmd(env *Env) *cobra.Command {
	a := newAsking(env)
	limit := 20
	cmd := &cobra.Command{
		Use:   "blame HOST RESOURCE",
		Short: "Show which runs changed a file, unit, package, account or kernel parameter",
		Long: `Blame asks a host's ledger who changed a resource: which run of which playbook,
which task, when, by whom, and the fingerprint before and after. It tells what
others did in between, and whether they changed it since: then its present
fingerprint is not the one that the last run left.

RESOURCE is a path, unit:NAME, package:NAME, user:NAME, group:NAME, sysctl:NAME, or
a name alone. HOST may be a group or a pattern; then each host answers.`,
		Example: `  holdfast blame web1 /etc/ssh/sshd_config
  holdfast blame web1 unit:ssh
  holdfast blame web1 sysctl:net.ipv4.ip_forward --output json | jq .resource.state`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeBlame,
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 0 {
				return usagef("0 shows all", "--runs cannot be %d", limit)
			}
			a.fleet.limit = append([]string{args[0]}, a.fleet.limit...)
			answers, failed, err := a.ask(cmd.Context(), wire.Ask{What: wire.AskBlame, Resource: args[1], Limit: limit})
			if err != nil {
				return err
			}
			return firstOf(env.blame(answers, a.format), failed)
		},
	}
	a.flags(cmd)
	cmd.Flags().IntVarP(&limit, "runs", "n", limit, "show at most so many runs; 0 shows all")
	return cmd
}

// kinds are the beginnings of what can be blamed.
var kinds = []string{"unit:", "package:", "user:", "group:", "sysctl:", "linger:"}

func (a *asking) completeBlame(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	switch {
	case len(args) == 0:
		return a.fleet.completeHosts(cmd, args, typed)
	case len(args) == 1 && strings.HasPrefix(typed, "/"):
		return nil, cobra.ShellCompDirectiveDefault
	case len(args) == 1:
		return kinds, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

func (env *Env) blame(answers []answer, format string) error {
	for _, a := range answers {
		if a.Ledger != nil && a.Ledger.Line > 0 {
			env.warn(fmt.Sprintf("%s: its ledger cannot be trusted from line %d on: %s", a.host, a.Ledger.Line, a.Ledger.Why), "")
		}
	}
	if format == "json" {
		return lines(env.Stdout, answers, func(a *answer, line *asked) {
			line.Resource, line.Receipts, line.Ledger = a.Resource, list(a.Receipts), a.Ledger
		})
	}
	for i := range answers {
		if err := showBlame(env.Stdout, &answers[i], i > 0); err != nil {
			return err
		}
	}
	return nil
}

func showBlame(to io.Writer, a *answer, apart bool) error {
	var b strings.Builder
	if apart {
		b.WriteString("\n")
	}
	r := a.Resource
	if r == nil {
		r = &wire.Resource{State: wire.Unknown}
	}
	fmt.Fprintf(&b, "%s  %s\n", a.host, r.Name)
	fmt.Fprintf(&b, "  now: %s\n", presentState(r))
	for _, c := range a.Receipts {
		b.WriteString("\n")
		fmt.Fprintf(&b, "  %s  %s  %s\n", moment(c.Time), c.Run, playbook(c.Playbook, c.Version))
		fmt.Fprintf(&b, "    by %s", person(c.User, c.Controller))
		if c.UndoOf != "" {
			fmt.Fprintf(&b, ", undo of %s", c.UndoOf)
		}
		if c.Task != "" {
			fmt.Fprintf(&b, ", task %q", c.Task)
		}
		b.WriteString("\n")
		fmt.Fprintf(&b, "    %s", c.Did)
		if change := fromTo(c.Before, c.After, c.Unfinished); change != "" {
			fmt.Fprintf(&b, ": %s", change)
		}
		b.WriteString("\n")
		if c.Drift != "" {
			fmt.Fprintf(&b, "    before that, changed by others: %s\n", c.Drift)
		}
	}
	if left := r.Total - len(a.Receipts); left > 0 {
		fmt.Fprintf(&b, "\n  and %d earlier; --runs 0 shows all\n", left)
	}
	_, err := io.WriteString(to, b.String())
	return err
}

// presentState says how the resource is now, and whether that is our doing.
func presentState(r *wire.Resource) string {
	switch r.State {
	case wire.Ours:
		return strings.TrimSpace(shown(r.Now) + ", as the last run left it")
	case wire.Others:
		return strings.TrimSpace(shown(r.Now) + ", changed by others: " + r.Drift)
	}
	if r.Now == "" {
		return r.Drift
	}
	return shown(r.Now) + "; " + r.Drift
}
