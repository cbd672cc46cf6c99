package cli

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/cmd/render"
	"holdfast/inventory"
	"holdfast/playbooks/source"
	"holdfast/runner/secrets"
	"holdfast/tasks/secret"
)

func newSecretCmd(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "secret",
		Short: "Keep the secrets of this project, encrypted",
		Long: `Secrets are kept below secrets/, one age file each, and are meant to be committed:
fleet/NAME.age is for every host, groups/GROUP/NAME.age and hosts/HOST/NAME.age are
for some. secret("NAME") in a playbook finds the host's own, else its group's (of
groups inside each other the inner one's), else the fleet's. Two groups that both
have one, neither inside of the other, are a fault.

They are encrypted to the recipients in secrets/recipients.txt: age recipients and
SSH public keys, one a line. What decrypts them is an identity, which stays with you:
the file that --identity names, or HOLDFAST_IDENTITY, else identity.txt in the
program's configuration folder and ~/.ssh/id_ed25519. A file that others can read is
refused. An age identity may be protected by a passphrase.

Beside each secret stands a note that everybody may read: when it was set, when it is
to be replaced (90 days later unless it says otherwise) and whom it is encrypted to.`,
		Example: `  holdfast secret init                              # the folder, an identity, its recipient
  holdfast secret set gateway_token                 # asks, without echo
  holdfast secret generate db_password --scope host:web1
  holdfast secret list`,
	}
	for _, add := range []func(*secretOptions) *cobra.Command{newSecretInitCmd, newSecretSetCmd, newSecretGenerateCmd, newSecretGetCmd, newSecretEditCmd,
		newSecretListCmd, newSecretCheckCmd, newSecretRekeyCmd, newSecretRmCmd} {
		cmd.AddCommand(add(&secretOptions{env: env}))
	}
	return cmd
}

// secretOptions are the flags of the commands about secrets.
type secretOptions struct {
	env        *Env
	identities []string
	scope      string
	format     string
	inventory  string
}

// store opens the project's store with the identities that are asked for.
func (o *secretOptions) store() *secrets.Store { return o.env.store(o.identities) }

func (env *Env) store(identities []string) *secrets.Store {
	k := &secrets.Keyring{}
	if len(identities) == 0 {
		if name := env.Getenv("HOLDFAST_IDENTITY"); name != "" {
			identities = []string{name}
		}
	}
	for _, name := range identities {
		k.Files = append(k.Files, env.path(name))
	}
	if dir := env.userDir("XDG_CONFIG_HOME", ".config"); dir != "" {
		k.Default = filepath.Join(dir, "identity.txt")
	}
	if home := env.Getenv("HOME"); home != "" {
		k.SSH = []string{filepath.Join(home, ".ssh", "id_ed25519")}
	}
	if env.canAsk() {
		k.Passphrase = func(file string) (secret.Text, error) { return env.askSecret("passphrase of " + file) }
	}
	name, machine := env.whoami()
	return &secrets.Store{Dir: env.path("secrets"), Shown: "secrets", Keys: k, Now: env.Now, Who: name + "@" + machine}
}

// identityFlag is the flag of every command that may decrypt.
func identityFlag(cmd *cobra.Command, to *[]string) {
	cmd.Flags().StringArrayVar(to, "identity", nil, "file with an age identity or SSH key that decrypts secrets (default $HOLDFAST_IDENTITY, else identity.txt in the configuration folder)")
}

func (o *secretOptions) scopeFlag(cmd *cobra.Command, usage string) {
	cmd.Flags().StringVar(&o.scope, "scope", "", usage)
	cmd.Flags().StringVarP(&o.inventory, "inventory", "i", "", "inventory that the names of hosts and groups are looked up in (default inventory.yml here)")
	if err := cmd.RegisterFlagCompletionFunc("scope", o.completeScopes); err != nil {
		panic(err) // the flag is defined right above
	}
}

func (o *secretOptions) formatFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.format, "output", "o", "text", "text or json")
	complete(cmd, "text", "json")
}

// completeNames offers the names of secrets.
func (o *secretOptions) completeNames(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names, _ := o.store().Names() // without a store there is nothing to offer
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (o *secretOptions) completeScopes(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	out := []string{secrets.KindFleet}
	if inv := o.hosts(); inv != nil {
		for _, g := range inv.Groups {
			out = append(out, secrets.KindGroup+":"+g.Name)
		}
		for _, h := range inv.Hosts {
			out = append(out, secrets.KindHost+":"+h.Name)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// hosts returns the inventory, or nil when there is none that can be read.
func (o *secretOptions) hosts() *inventory.Inventory {
	f := o.env.fleet()
	f.inventory = o.inventory
	inv, faults := f.read()
	if len(faults) > 0 {
		return nil
	}
	return inv
}

// ref is the secret that a name and the scope flag name, the fleet's without a flag.
func (o *secretOptions) ref(name string) (secrets.Ref, error) {
	if o.scope == "" {
		return secrets.Ref{Name: name, Scope: secrets.Fleet}, nil
	}
	scope, err := secrets.ParseScope(o.scope)
	if err == nil {
		o.warnUnknown(scope)
	}
	return secrets.Ref{Name: name, Scope: scope}, err
}

// warnUnknown tells of a scope that no host is in. It may come to be later.
func (o *secretOptions) warnUnknown(scope secrets.Scope) {
	inv := o.hosts()
	if inv == nil || scope == secrets.Fleet {
		return
	}
	var known []string
	for _, g := range inv.Groups {
		if scope.Kind == secrets.KindGroup {
			known = append(known, g.Name)
		}
	}
	for _, h := range inv.Hosts {
		if scope.Kind == secrets.KindHost {
			known = append(known, h.Name)
		}
	}
	for _, name := range known {
		if name == scope.Name {
			return
		}
	}
	o.env.warn(fmt.Sprintf("the inventory has no %s %q", scope.Kind, scope.Name), source.DidYouMean(scope.Name, known))
}

// existing is the secret that is there by a name: in the scope of the flag, else in
// the only one that it has.
func (o *secretOptions) existing(s *secrets.Store, name string) (secrets.Ref, error) {
	if o.scope == "" {
		return s.Only(name)
	}
	scope, err := secrets.ParseScope(o.scope)
	if err != nil {
		return secrets.Ref{}, err
	}
	ref := secrets.Ref{Name: name, Scope: scope}
	return ref, s.Has(ref)
}

// change does something to the store that nobody else may do at the same time.
func change(s *secrets.Store, f func() error) error {
	unlock, err := s.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	return f()
}

// askSecret asks the person at the terminal for something that must not be seen.
func (env *Env) askSecret(prompt string) (secret.Text, error) {
	text, err := render.ReadSecret(env.Stdin, env.Stderr, prompt+": ", env.stop)
	if err != nil {
		return secret.Text{}, fmt.Errorf("cannot ask for the %s: %w", prompt, err)
	}
	return secret.New(text), nil
}

// maxInput bounds what is read; the store has a limit of its own below that.
const maxInput = 1 << 20

// input reads a new secret: from the terminal, twice and without echo, or from
// standard input. There the end of a single line does not count.
func (env *Env) input(what string) (secret.Text, error) {
	if env.canAsk() {
		first, err := env.askSecret(what)
		if err != nil {
			return secret.Text{}, err
		}
		second, err := env.askSecret("same again")
		if err == nil && first.Reveal() != second.Reveal() {
			err = &secrets.Fault{Message: "the two are not the same, nothing was changed"}
		}
		return first, err
	}
	if env.Stdin == nil {
		return secret.Text{}, errors.New("there is no standard input to read the secret from")
	}
	data, err := io.ReadAll(io.LimitReader(env.Stdin, maxInput))
	if err != nil {
		return secret.Text{}, fmt.Errorf("cannot read the secret from standard input: %w", err)
	}
	return secret.New(oneLine(string(data))), nil
}

// oneLine takes the end of the line off a text of one line. Keys and certificates
// have several and keep it.
func oneLine(text string) string {
	if line := strings.TrimRight(text, "\r\n"); !strings.ContainsAny(line, "\r\n") {
		return line
	}
	return text
}
