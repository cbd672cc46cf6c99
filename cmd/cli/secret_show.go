package cli

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/cmd/render"
	"holdfast/runner"
	"holdfast/runner/secrets"
)

func newSecretGetCmd(o *secretOptions) *cobra.Command {
	var host string
	var reveal bool
	cmd := &cobra.Command{
		Use:   "get NAME",
		Short: "Print a secret",
		Long: `Get prints a secret as it is, to a file or another program. On a terminal, where
people look over shoulders and scrollback stays, it wants --reveal. With --host it is
the one that a playbook would get on that host.`,
		Example: `  holdfast secret get gateway_token | wl-copy
  holdfast secret get db_password --host web1 --reveal`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: o.completeNames,
		RunE: func(_ *cobra.Command, args []string) error {
			if o.env.isTerminal() && !reveal {
				return usagef("--reveal shows it all the same", "this is a terminal, and everybody who looks at it would see the secret")
			}
			s := o.store()
			ref, err := o.wanted(s, args[0], host)
			if err != nil {
				return err
			}
			text, err := s.Read(ref)
			if err != nil {
				return err
			}
			out := text.Reveal()
			if o.env.isTerminal() && !strings.HasSuffix(out, "\n") {
				out += "\n"
			}
			_, err = fmt.Fprint(o.env.Stdout, out)
			return err
		},
	}
	o.scopeFlag(cmd, "which one: fleet, group:NAME or host:NAME (default the only one of that name)")
	identityFlag(cmd, &o.identities)
	cmd.Flags().StringVar(&host, "host", "", "the one that this host has")
	cmd.Flags().BoolVar(&reveal, "reveal", false, "print it on a terminal too")
	cmd.MarkFlagsMutuallyExclusive("host", "scope")
	return cmd
}

// wanted is the secret that a person asks for.
func (o *secretOptions) wanted(s *secrets.Store, name, host string) (secrets.Ref, error) {
	if host == "" {
		return o.existing(s, name)
	}
	f := o.env.fleet()
	f.inventory = o.inventory
	inv, faults := f.read()
	if len(faults) > 0 {
		return secrets.Ref{}, faults.Err()
	}
	h := inv.Host(host)
	if h == nil {
		return secrets.Ref{}, usagef("'holdfast hosts' lists them", "the inventory has no host %q", host)
	}
	return s.Resolve(name, h)
}

func newSecretListCmd(o *secretOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the secrets, how old they are, and which are overdue",
		Long: `List shows name, scope and age of every secret. It needs no identity and shows no
value. A secret is overdue 90 days after it was set, unless its note says otherwise.`,
		Example: `  holdfast secret list
  holdfast secret list --output json | jq -r 'select(.overdue).name'`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return o.list() },
	}
	o.formatFlag(cmd)
	return cmd
}

// listedSecret is one secret in JSON.
type listedSecret struct {
	Name        string     `json:"name"`
	Scope       string     `json:"scope"`
	Set         *time.Time `json:"set,omitempty"`
	AgeDays     *int       `json:"age_days,omitempty"`
	RotateAfter string     `json:"rotate_after"`
	Due         *time.Time `json:"due,omitempty"`
	Overdue     bool       `json:"overdue"`
	Note        string     `json:"note,omitempty"`
}

func (o *secretOptions) list() error {
	if err := known(o.format); err != nil {
		return err
	}
	s := o.store()
	refs, err := s.Refs()
	if err != nil {
		return err
	}
	var rows [][]string
	for _, ref := range refs {
		info, err := s.Info(ref)
		if err != nil {
			info.Strange = err.Error()
		}
		if o.format == "json" {
			o.env.printJSON(o.listed(info))
			continue
		}
		rows = append(rows, o.row(info))
	}
	switch {
	case o.format == "json":
	case len(rows) == 0:
		fmt.Fprintln(o.env.Stdout, "there is no secret yet: holdfast secret set NAME")
	default:
		fmt.Fprint(o.env.Stdout, render.Table([]string{"name", "scope", "set", "age", "rotate after", ""}, rows))
	}
	return nil
}

func (o *secretOptions) listed(i secrets.Info) listedSecret {
	out := listedSecret{Name: i.Ref.Name, Scope: i.Ref.Scope.String(), RotateAfter: rotation(i), Overdue: i.Overdue, Note: i.Strange}
	if !i.Set.IsZero() {
		days := o.days(i)
		out.Set, out.AgeDays = &i.Set, &days
	}
	if !i.Due.IsZero() {
		out.Due = &i.Due
	}
	return out
}

func (o *secretOptions) days(i secrets.Info) int {
	return int(o.env.Now().Sub(i.Set) / (24 * time.Hour))
}

func rotation(i secrets.Info) string {
	if i.RotateAfter == "" {
		return fmt.Sprintf("%dd", secrets.DefaultRotate/(24*time.Hour))
	}
	return i.RotateAfter
}

func (o *secretOptions) row(i secrets.Info) []string {
	set, age, state := "not known", "-", ""
	if !i.Set.IsZero() {
		set, age = i.Set.Format("2006-01-02"), render.Plural(o.days(i), "day")
	}
	if i.Overdue {
		state = "OVERDUE"
	}
	if i.Strange != "" {
		state = strings.TrimPrefix(state+"; ", "; ") + i.Strange
	}
	return []string{i.Ref.Name, i.Ref.Scope.String(), set, age, rotation(i), state}
}

func newSecretCheckCmd(o *secretOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Look for secrets that are in danger, overdue or of no use",
		Long: fmt.Sprintf(`Check decrypts every secret and shows none. It finds files that cannot be decrypted,
that are encrypted to others than secrets/recipients.txt names, that are overdue, and
what lies there in clear; what others can write; an identity inside of the project;
and names that no playbook, inventory or parameter file mentions. It exits with %d
when something is serious.`, runner.CodeFailed),
		Example: `  holdfast secret check
  holdfast secret check --output json --identity ./ci-identity.txt`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return o.check() },
	}
	o.formatFlag(cmd)
	identityFlag(cmd, &o.identities)
	return cmd
}

func (o *secretOptions) check() error {
	if err := known(o.format); err != nil {
		return err
	}
	s := o.store()
	found, err := s.Check()
	if err != nil {
		return err
	}
	unused, err := s.Unused(o.env.projectTexts())
	if err != nil {
		return err
	}
	for _, name := range unused {
		found = append(found, secrets.Finding{Message: fmt.Sprintf("no playbook and no inventory mentions %s", name), Hint: "'holdfast secret rm' removes it"})
	}
	serious := 0
	for _, f := range found {
		if f.Serious {
			serious++
		}
		o.tellFinding(f)
	}
	refs, err := s.Refs()
	if err != nil {
		return err
	}
	if o.format == "text" {
		fmt.Fprintf(o.env.Stdout, "%s, %d serious of %s\n", render.Plural(len(refs), "secret"), serious, render.Plural(len(found), "finding"))
	}
	if serious > 0 {
		return &exit{runner.CodeFailed}
	}
	return nil
}

func (o *secretOptions) tellFinding(f secrets.Finding) {
	if o.format == "json" {
		o.env.printJSON(struct {
			Serious bool   `json:"serious"`
			File    string `json:"file,omitempty"`
			Message string `json:"message"`
			Hint    string `json:"hint,omitempty"`
		}{f.Serious, f.File, f.Message, f.Hint})
		return
	}
	kind := "note    "
	if f.Serious {
		kind = "SERIOUS "
	}
	text := f.Message
	if f.File != "" {
		text = f.File + ": " + text
	}
	if f.Hint != "" {
		text += "\n           hint: " + f.Hint
	}
	fmt.Fprintf(o.env.Stdout, "%s %s\n", kind, text)
}

// Bounds of what is read to find names in.
const (
	maxText  = 1 << 20
	maxTexts = 2000
)

// projectTexts reads what may mention a secret: playbooks and what lies with them, the
// inventory, parameters.
func (env *Env) projectTexts() map[string][]byte {
	out := map[string][]byte{}
	tops, _ := filepath.Glob(filepath.Join(env.Dir, "*.y*ml")) // the pattern is fine
	tops = append(tops, filepath.Join(env.Dir, "playbooks"), filepath.Join(env.Dir, "inventory"))
	for _, top := range tops {
		_ = filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error { // what cannot be read mentions nothing
			if err != nil || !e.Type().IsRegular() || len(out) == maxTexts {
				return nil //nolint:nilerr // see above
			}
			if st, err := e.Info(); err == nil && st.Size() <= maxText {
				if data, err := os.ReadFile(path); err == nil {
					out[path] = data
				}
			}
			return nil
		})
	}
	return out
}

// known faults an output that there is not.
func known(format string) error {
	if format != "text" && format != "json" {
		return usagef("--output text or --output json", "unknown output %q", format)
	}
	return nil
}

// printJSON prints one value a line.
func (env *Env) printJSON(v any) {
	enc := json.NewEncoder(env.Stdout)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // our own plain structs; a stream that is gone cannot be told
}
