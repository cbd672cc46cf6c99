package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/cmd/render"
	"holdfast/runner"
	"holdfast/runner/wire"
)

func newLedgerCmd(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ledger",
		Short: "Check the receipts that hosts keep of every change",
		Long: `Each host keeps a ledger: one receipt for each resource that a run changed, each
with the hash of the one before it.`,
		Example: "  holdfast ledger verify -i inventory.yml",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newLedgerVerifyCmd(env))
	return cmd
}

func newLedgerVerifyCmd(env *Env) *cobra.Command {
	a := newAsking(env)
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check the chain of hashes on every host",
		Long: fmt.Sprintf(`Verify reads the whole ledger on each host and names the first line that was
changed, or behind which lines were removed, put in or moved. It also compares the
ledger with the runs that the host remembers, so that a missing end is noticed as
long as they are. It exits with %d when a ledger is broken.

Root on a host can write a whole ledger anew. To notice that as well, keep the head
of each ledger (--output json) somewhere else.`, runner.CodeFailed),
		Example: `  holdfast ledger verify -i inventory.yml
  holdfast ledger verify --output json | jq -r '[.host, .ledger.head] | @tsv' > heads.tsv`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			answers, failed, err := a.ask(cmd.Context(), wire.Ask{What: wire.AskLedger})
			if err != nil {
				return err
			}
			return firstOf(env.ledgerVerify(answers, a.format), failed)
		},
	}
	a.flags(cmd)
	return cmd
}

func (env *Env) ledgerVerify(answers []answer, format string) error {
	broken := false
	rows := [][]string{}
	for i := range answers {
		a := &answers[i]
		if a.err != nil {
			continue
		}
		if a.Ledger == nil {
			a.Ledger = &wire.LedgerLook{}
		}
		broken = broken || a.Ledger.Broken()
		rows = append(rows, []string{a.host, verdict(a.Ledger), fmt.Sprint(a.Ledger.Receipts), moment(a.Ledger.Last), fmt.Sprintf("%.12s", orDash(a.Ledger.Head))})
	}
	if format == "json" {
		err := lines(env.Stdout, answers, func(a *answer, line *asked) {
			is := a.Ledger.Broken()
			line.Ledger, line.Broken = a.Ledger, &is
		})
		if err != nil {
			return err
		}
	} else if len(rows) > 0 {
		if _, err := fmt.Fprint(env.Stdout, render.Table([]string{"host", "ledger", "receipts", "last", "head"}, rows)); err != nil {
			return err
		}
	}
	if broken {
		return &exit{runner.CodeFailed}
	}
	return nil
}

// verdict says whether a ledger can be trusted, and if not, from where on.
func verdict(l *wire.LedgerLook) string {
	var why []string
	if l.Line > 0 {
		why = append(why, fmt.Sprintf("broken at line %d: %s", l.Line, l.Why))
	}
	if len(l.Missing) > 0 {
		why = append(why, "lacks receipts of "+strings.Join(l.Missing, ", "))
	}
	switch {
	case len(why) > 0:
		return strings.Join(why, "; ")
	case l.Receipts == 0:
		return "empty"
	}
	return "whole"
}
