package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"holdfast/inventory"
	"holdfast/playbooks/source"
	"holdfast/runner"
	"holdfast/runner/expr"
	"holdfast/runner/helperbin"
	"holdfast/runner/local"
	"holdfast/runner/remote"
	"holdfast/runner/secrets"
	"holdfast/runner/sshconn"
	"holdfast/tasks/secret"
)

// fleet is the flags that choose hosts and how they are reached.
type fleet struct {
	inventory string
	limit     []string
	acceptNew bool
	timeout   time.Duration
	identity  []string

	env     *Env
	secrets *secrets.Providers
	all     *inventory.Inventory
	memory  *sshconn.Memory
	opened  sync.Once // the store of secrets
}

func (f *fleet) flags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.inventory, "inventory", "i", "", "inventory file or folder, or hosts with a comma: web1,web2 (default inventory.yml here)")
	cmd.Flags().StringArrayVarP(&f.limit, "limit", "l", nil, `only these hosts: names, globs, groups, !not, &and, or CEL such as 'host.labels.role == "db"'`)
	cmd.Flags().BoolVar(&f.acceptNew, "accept-new", false, "record the key of a host that is not known yet; a changed key is refused all the same")
	cmd.Flags().DurationVar(&f.timeout, "connect-timeout", 0, "time limit of each step of connecting (default 10s)")
	identityFlag(cmd, &f.identity)
	for _, flag := range []string{"limit"} {
		err := cmd.RegisterFlagCompletionFunc(flag, f.completeHosts)
		if err != nil {
			panic(err) // the flag is defined right above
		}
	}
}

// completeHosts offers names of hosts and groups. It reads files and contacts nobody.
func (f *fleet) completeHosts(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	inv, faults := f.read()
	if len(faults) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, h := range inv.Hosts {
		out = append(out, h.Name)
	}
	for _, g := range inv.Groups {
		out = append(out, g.Name)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// read reads the inventory that the flags name, else HOLDFAST_INVENTORY, else
// inventory.yml or inventory/ in the working directory.
func (f *fleet) read() (*inventory.Inventory, source.Faults) {
	name := f.named()
	if strings.Contains(name, ",") {
		return inventory.Inline(name)
	}
	if name == "" {
		for _, candidate := range []string{"inventory.yml", "inventory.yaml", "inventory"} {
			if _, err := os.Stat(f.env.path(candidate)); err == nil {
				name = candidate
				break
			}
		}
	}
	if name == "" {
		return nil, source.Faults{{Message: "no inventory: there is no inventory.yml here",
			Hint: "name one with -i FILE, or hosts with a comma: -i web1,web2 or -i localhost, ; 'holdfast init' writes a first one"}}
	}
	if _, err := os.Stat(f.env.path(name)); errors.Is(err, fs.ErrNotExist) {
		return nil, source.Faults{{Message: fmt.Sprintf("cannot read the inventory %q: there is no such file", name), Hint: "for a single host write a comma behind its name: -i " + name + ","}}
	}
	return inventory.Read(name, inventory.Options{Select: selectHost, Check: checkHost})
}

// named returns the inventory that somebody named, or "".
func (f *fleet) named() string {
	if f.inventory != "" {
		return f.inventory
	}
	return f.env.Getenv("HOLDFAST_INVENTORY")
}

func checkHost(expression string, pos source.Pos) *source.Fault {
	if f := expr.CheckHost(expression); f != nil {
		return expr.FaultAt(source.NewScalar(pos, source.Str, expression), "", f)
	}
	return nil
}

func selectHost(expression string, pos source.Pos, h *inventory.Host) (bool, *source.Fault) {
	labels := map[string]any{}
	for k, v := range h.Labels {
		labels[k] = v
	}
	groups := make([]any, len(h.Groups))
	for i, g := range h.Groups {
		groups[i] = g
	}
	ok, fault := expr.SelectHost(context.Background(), expression, map[string]any{"name": h.Name, "address": h.Address, "labels": labels, "groups": groups})
	if fault != nil {
		return false, expr.FaultAt(source.NewScalar(pos, source.Str, expression), "", fault)
	}
	return ok, nil
}

// hosts returns the hosts that the flags choose.
func (f *fleet) hosts() ([]*inventory.Host, source.Faults) {
	inv, faults := f.read()
	if len(faults) > 0 {
		return nil, faults
	}
	f.all = inv
	hosts, faults := inv.Select(f.limit, selectHost)
	if len(faults) == 0 && len(hosts) == 0 {
		faults.Addf(source.Pos{File: f.inventory}, "", "no host is selected")
	}
	for _, h := range hosts {
		f.knownPassword(h, &faults)
	}
	return hosts, faults.Sorted()
}

// knownPassword faults a password for sudo that is nowhere to be found.
func (f *fleet) knownPassword(h *inventory.Host, faults *source.Faults) {
	if h.Sudo.Password == "" {
		return
	}
	if err := f.vault().Known(h.Sudo.Password); err != nil {
		faults.Addf(h.Pos, "hosts."+h.Name+".sudo.password", "%s", err).Hint = expr.Advice(err)
	}
}

// counted is a connection that knows its traffic.
type counted struct {
	remote.Conn
	counter *sshconn.Counter
}

// Traffic implements runner.Stats.
func (c *counted) Traffic() (bytesUp, bytesDown, roundTrips, channels int64) {
	s := c.counter.Stats()
	return s.BytesUp, s.BytesDown, s.RoundTrips, s.Channels
}

// connect opens a connection to a host the way its inventory says.
func (f *fleet) connect(ctx context.Context, h *inventory.Host) (remote.Conn, error) {
	if h.Connection == inventory.ConnectionLocal {
		return local.New(h.Name, 0), nil
	}
	target, err := f.target(h)
	if err != nil {
		return nil, err
	}
	counter := &sshconn.Counter{}
	conn, err := sshconn.Dial(ctx, target, sshconn.Options{Memory: f.memory, Counter: counter})
	if err != nil {
		return nil, err
	}
	return &counted{conn, counter}, nil
}

// defaultPort is the port of SSH where nothing names another (RFC 4253, section 4.1).
const defaultPort = 22

// connectPath opens a connection of its own over one path, to prove that it works.
func (f *fleet) connectPath(ctx context.Context, h *inventory.Host, p runner.Path) (remote.Conn, error) {
	target, err := f.target(h)
	if err != nil {
		return nil, err
	}
	// The host is the one that we know by its present ports, whatever port it has now.
	target.KnownPorts = append(slices.Clone(target.Ports), defaultPort)
	target.Users, target.Ports = []string{p.User}, []int{p.Port}
	if p.Address != "" {
		target.Address = p.Address
	}
	counter := &sshconn.Counter{}
	conn, err := sshconn.Dial(ctx, target, sshconn.Options{Memory: f.memory, Counter: counter})
	if err != nil {
		return nil, err
	}
	return &counted{conn, counter}, nil
}

// target turns what the inventory says about SSH into what sshconn wants.
func (f *fleet) target(h *inventory.Host) (sshconn.Target, error) {
	if f.memory == nil {
		if dir := f.env.userDir("XDG_STATE_HOME", ".local/state"); dir != "" {
			f.memory = sshconn.OpenMemory(filepath.Join(dir, "rungs.json"))
		}
	}
	s := h.SSH
	t := sshconn.Target{Name: h.Name, Address: h.Address, Users: s.Users, Ports: s.Ports, Agent: !s.NoAgent,
		SSHConfig: f.home(s.Config), AcceptNew: f.acceptNew, ConnectTimeout: s.ConnectTimeout}
	if f.timeout > 0 {
		t.ConnectTimeout, t.StepTimeout = f.timeout, f.timeout
	}
	for _, k := range s.Keys {
		t.Keys = append(t.Keys, f.home(k))
	}
	if s.KnownHosts != "" {
		t.KnownHosts = []string{f.home(s.KnownHosts)}
	}
	for _, name := range s.Jump {
		hop, err := f.hop(name)
		if err != nil {
			return t, err
		}
		t.Jump = append(t.Jump, hop)
	}
	return t, nil
}

// hop is a jump host: a host of the inventory, or an address.
func (f *fleet) hop(name string) (sshconn.Target, error) {
	if f.all != nil {
		if h := f.all.Host(name); h != nil {
			return f.target(h)
		}
	}
	return sshconn.ParseHop(name)
}

func (f *fleet) home(p string) string {
	if rest, ok := strings.CutPrefix(p, "~/"); ok {
		return filepath.Join(f.env.Getenv("HOME"), rest)
	}
	return p
}

// session returns how a helper is started on a host.
func (f *fleet) session(binaries remote.Binaries, root bool) func(h *inventory.Host) remote.Options {
	return func(h *inventory.Host) remote.Options {
		o := remote.Options{Binaries: binaries, Root: remote.Root{Want: root && h.Sudo.Method != "none"}}
		if name := h.Sudo.Password; name != "" {
			o.Root.Password = func() (secret.Text, error) { return f.secret(h, name) }
		}
		if f.timeout > 0 {
			// The helper's own limits keep their proportion to a step of connecting.
			o.Setup, o.Grace = 12*f.timeout, 3*f.timeout
		}
		return o
	}
}

// secret reads a secret and makes it known to the redactor.
func (f *fleet) secret(h *inventory.Host, name string) (secret.Text, error) {
	text, err := f.vault().Get(h, name)
	if err == nil {
		f.env.redactor.Add(text)
	}
	return text, err
}

// vault returns where secrets are found. The flags are known by now.
func (f *fleet) vault() *secrets.Providers {
	f.opened.Do(func() { f.secrets.Store = f.env.store(f.identity) })
	return f.secrets
}

// fleet returns a fleet on an environment.
func (env *Env) fleet() *fleet {
	return &fleet{env: env, secrets: &secrets.Providers{Getenv: env.Getenv}}
}

// binaries returns the helpers for what needs no TLS from a host.
func binaries() (remote.Binaries, error) { return helperbin.All(false) }

// whoami names the person and the machine that a run comes from.
func (env *Env) whoami() (name, machine string) {
	machine, err := os.Hostname()
	if err != nil {
		machine = "unknown"
	}
	name = env.Getenv("SUDO_USER")
	if name == "" {
		if u, err := user.Current(); err == nil {
			name = u.Username
		}
	}
	return name, machine
}
