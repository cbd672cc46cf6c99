package cli

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"holdfast/cmd/render"
	"holdfast/runner"
	"holdfast/runner/secrets"
	"holdfast/tasks/secret"
)

func newSecretInitCmd(o *secretOptions) *cobra.Command {
	var recipients []string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make the folder for secrets, and an identity if there is none",
		Long: `Init makes secrets/ and writes secrets/recipients.txt with the recipient of your
identity. Without an identity it makes one, in the program's configuration folder,
for your eyes only: keep a copy where the project is not. With --recipient the ones
given are written and no identity is looked for. It overwrites nothing.`,
		Example: `  holdfast secret init
  holdfast secret init --recipient "$(cat ~/.ssh/id_ed25519.pub)" --recipient age1…`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			s := o.store()
			wrote, err := s.Init(recipients)
			for _, name := range wrote {
				fmt.Fprintf(o.env.Stdout, "wrote %s\n", name)
			}
			if err == nil && len(wrote) == 0 {
				fmt.Fprintln(o.env.Stdout, "secrets/recipients.txt is there already, left alone")
			}
			return err
		},
	}
	cmd.Flags().StringArrayVar(&recipients, "recipient", nil, "age recipient or SSH public key to encrypt to")
	return cmd
}

func newSecretSetCmd(o *secretOptions) *cobra.Command {
	var rotate string
	cmd := &cobra.Command{
		Use:   "set NAME",
		Short: "Set a secret, from a prompt or from standard input",
		Long: `Set asks for the value without showing it, or reads it from standard input: never
from the command line, which everybody on the machine can see. It needs no identity.
The end of a line does not belong to a value of one line.`,
		Example: `  holdfast secret set gateway_token
  holdfast secret set tls_key --scope group:front < key.pem
  pass show hetzner | holdfast secret set hetzner_token --rotate-after 180d`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: o.completeNames,
		RunE: func(_ *cobra.Command, args []string) error {
			ref, err := o.ref(args[0])
			if err != nil {
				return err
			}
			s := o.store()
			if !s.Exists() {
				return s.Has(ref)
			}
			text, err := o.env.input("value of " + ref.String())
			if err != nil {
				return err
			}
			if err := change(s, func() error { return s.Set(ref, text, rotate) }); err != nil {
				return err
			}
			fmt.Fprintf(o.env.Stdout, "set %s\n", ref)
			return nil
		},
	}
	o.scopeFlag(cmd, "whom it is for: fleet, group:NAME or host:NAME (default fleet)")
	rotateFlag(cmd, &rotate)
	return cmd
}

func rotateFlag(cmd *cobra.Command, to *string) {
	cmd.Flags().StringVar(to, "rotate-after", "", "when it is overdue: such as 180d, or never (default what it was, else 90d)")
}

func newSecretGenerateCmd(o *secretOptions) *cobra.Command {
	var rotate, kind, alphabet string
	var length int
	var replace, reveal bool
	cmd := &cobra.Command{
		Use:   "generate NAME",
		Short: "Make a random secret",
		Long: `Generate makes a random value and keeps it without showing it. The kinds: token
(letters, digits, - and _), password (letters and digits), hex, base64 (of so many
random bytes) and ed25519 (a private key in PKCS #8; its public key is printed). What
has less than 64 bits of randomness is refused. A secret that is there stays, unless
--replace is given.`,
		Example: `  holdfast secret generate gateway_token
  holdfast secret generate db_password --kind password --length 32 --scope host:db1
  holdfast secret generate device_key --kind ed25519 > device.pub`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: o.completeNames,
		RunE: func(_ *cobra.Command, args []string) error {
			ref, err := o.ref(args[0])
			if err != nil {
				return err
			}
			text, public, err := secrets.Generate(kind, length, alphabet)
			if err != nil {
				return err
			}
			s := o.store()
			err = change(s, func() error {
				if s.Has(ref) == nil && !replace {
					return &secrets.Fault{Message: ref.String() + " is there already", Hint: "--replace makes a new value; the old one is then only in version control"}
				}
				return s.Set(ref, text, rotate)
			})
			if err != nil {
				return err
			}
			switch {
			case reveal:
				fmt.Fprintln(o.env.Stdout, strings.TrimSuffix(text.Reveal(), "\n"))
			case public != "":
				fmt.Fprint(o.env.Stdout, public)
			default:
				fmt.Fprintf(o.env.Stdout, "generated %s\n", ref)
			}
			return nil
		},
	}
	o.scopeFlag(cmd, "whom it is for: fleet, group:NAME or host:NAME (default fleet)")
	rotateFlag(cmd, &rotate)
	cmd.Flags().StringVar(&kind, "kind", secret.KindToken, "what to make: "+strings.Join(secrets.GenerateKinds(), ", "))
	cmd.Flags().IntVar(&length, "length", 0, "how many characters; of base64, how many bytes (default that of the kind)")
	cmd.Flags().StringVar(&alphabet, "alphabet", "", "the characters of a token or a password")
	cmd.Flags().BoolVar(&replace, "replace", false, "replace a secret that is there")
	cmd.Flags().BoolVar(&reveal, "reveal", false, "print the value")
	if err := cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(secrets.GenerateKinds(), cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag is defined right above
	}
	return cmd
}

func newSecretEditCmd(o *secretOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "edit NAME",
		Short: "Change a secret in an editor",
		Long: `Edit decrypts a secret into a file in memory that only you can read, starts $VISUAL
or $EDITOR on it, and encrypts what comes back. The file is overwritten and removed
in the end, after an interrupt too. Where the editor changed nothing, nothing is
written. Others wait as long as you edit.`,
		Example:           `  EDITOR=nano holdfast secret edit tls_key --scope group:front`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: o.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			s := o.store()
			ref, err := o.existing(s, args[0])
			if err != nil {
				return err
			}
			if err := change(s, func() error { return o.edit(cmd.Context(), s, ref) }); err != nil {
				return err
			}
			fmt.Fprintf(o.env.Stdout, "set %s\n", ref)
			return nil
		},
	}
	o.scopeFlag(cmd, "which one: fleet, group:NAME or host:NAME (default the only one of that name)")
	identityFlag(cmd, &o.identities)
	return cmd
}

func (o *secretOptions) edit(ctx context.Context, s *secrets.Store, ref secrets.Ref) (err error) {
	editor := strings.Fields(o.env.Getenv("VISUAL"))
	if len(editor) == 0 {
		editor = strings.Fields(o.env.Getenv("EDITOR"))
	}
	if len(editor) == 0 {
		return &secrets.Fault{Message: "cannot edit a secret: there is no editor", Hint: "set EDITOR"}
	}
	before, err := s.Digest(ref)
	if err != nil {
		return err
	}
	old, err := s.Read(ref)
	if err != nil {
		return err
	}
	dir, shred, err := secrets.Private(o.env.Getenv)
	if err != nil {
		return err
	}
	defer func() { err = firstOf(err, shred()) }()
	name := filepath.Join(dir, ref.Name)
	if err := os.WriteFile(name, []byte(old.Reveal()), 0o600); err != nil {
		return fmt.Errorf("cannot write the file to edit: %w", err)
	}
	if err := o.runEditor(ctx, editor, name); err != nil {
		return err
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("cannot read what was edited: %w", err)
	}
	text := string(data)
	if !strings.HasSuffix(old.Reveal(), "\n") {
		text = oneLine(text) // editors put an end to the last line
	}
	switch {
	case changed(s, ref, before):
		return &secrets.Fault{Message: "it was changed by something else while it was edited, and what was edited is not kept", Hint: "edit it again"}
	case text == old.Reveal():
		return &secrets.Fault{Message: "the editor changed nothing, so nothing was written"}
	}
	return s.Set(ref, secret.New(text), "")
}

// changed reports whether a secret is no longer what it was: version control and others
// who do not know our lock may write too.
func changed(s *secrets.Store, ref secrets.Ref, before string) bool {
	now, err := s.Digest(ref)
	return err != nil || now != before
}

// runEditor runs an editor at the person's terminal. An interrupt that reaches us ends
// it: those at a keyboard in an editor are the editor's own.
func (o *secretOptions) runEditor(ctx context.Context, editor []string, name string) error {
	ctx, cancel := o.env.untilStopped(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, editor[0], append(editor[1:], name)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = editorPatience
	cmd.Stdin, cmd.Stdout, cmd.Stderr = o.env.Stdin, o.env.Stdout, o.env.Stderr
	err := cmd.Run()
	if o.env.stopped() {
		o.env.warn("interrupted, nothing was written", "")
		return &exit{runner.CodeInterrupted}
	}
	if err != nil {
		return &secrets.Fault{Message: fmt.Sprintf("the editor %s failed, nothing was written: %s", editor[0], err)}
	}
	return nil
}

// editorPatience is how long an editor that was told to end may take.
const editorPatience = 5 * time.Second

func newSecretRmCmd(o *secretOptions) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "rm NAME",
		Short: "Remove a secret",
		Long: `Rm removes a secret and its note. On a terminal it asks. Version control keeps what
was committed: a secret that leaked has to be replaced where it is used.`,
		Example:           `  holdfast secret rm old_token --scope host:web1`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: o.completeNames,
		RunE: func(_ *cobra.Command, args []string) error {
			s := o.store()
			ref, err := o.existing(s, args[0])
			if err != nil {
				return err
			}
			if !yes && o.env.canAsk() && !o.env.ask("remove "+ref.String()+"?") {
				return nil
			}
			if err := change(s, func() error { return s.Remove(ref) }); err != nil {
				return err
			}
			fmt.Fprintf(o.env.Stdout, "removed %s\n", ref)
			return nil
		},
	}
	o.scopeFlag(cmd, "which one: fleet, group:NAME or host:NAME (default the only one of that name)")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func newSecretRekeyCmd(o *secretOptions) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "rekey",
		Short: "Encrypt all secrets to the present recipients",
		Long: fmt.Sprintf(`Rekey encrypts every secret to those that secrets/recipients.txt names now. It takes
one after the other, each whole or not at all; those that are fine already stay as
they are, so what was cut off is finished by the next rekey. It exits with %d when
some could not be done, and says which.

Who is no recipient any more can still read the old values in version control: set
new ones.`, runner.CodeFailed),
		Example: `  holdfast secret rekey
  holdfast secret rekey --identity old-identity.txt --output json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return o.rekey(all) },
	}
	o.formatFlag(cmd)
	identityFlag(cmd, &o.identities)
	cmd.Flags().BoolVar(&all, "all", false, "encrypt those anew too that are fine already")
	return cmd
}

func (o *secretOptions) rekey(all bool) error {
	if err := known(o.format); err != nil {
		return err
	}
	s := o.store()
	done, fine, failed := 0, 0, 0
	err := change(s, func() error {
		return s.Rekey(all, func(r secrets.Rekeyed) {
			switch {
			case r.Err != nil:
				failed++
			case r.Done:
				done++
			default:
				fine++
			}
			o.tellRekeyed(r)
		})
	})
	if err != nil {
		return err
	}
	if o.format == "text" {
		fmt.Fprintf(o.env.Stdout, "%s encrypted anew, %d fine already, %d failed\n", render.Plural(done, "secret"), fine, failed)
	}
	if failed > 0 {
		return &exit{runner.CodeFailed}
	}
	return nil
}

func (o *secretOptions) tellRekeyed(r secrets.Rekeyed) {
	outcome := "fine already"
	switch {
	case r.Err != nil:
		outcome = "failed"
	case r.Done:
		outcome = "encrypted anew"
	}
	if o.format == "json" {
		line := struct {
			Name    string `json:"name"`
			Scope   string `json:"scope"`
			Outcome string `json:"outcome"`
			Error   string `json:"error,omitempty"`
		}{Name: r.Ref.Name, Scope: r.Ref.Scope.String(), Outcome: outcome}
		if r.Err != nil {
			line.Error = r.Err.Error()
		}
		o.env.printJSON(line)
		return
	}
	if r.Err != nil {
		o.env.errorLine(r.Ref.String() + ": " + r.Err.Error())
		return
	}
	if r.Done {
		fmt.Fprintf(o.env.Stdout, "%s  %s\n", outcome, r.Ref)
	}
}
