package sshconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"
)

const maxHops = 8

// route is a target with everything decided.
type route struct {
	name       string
	host       string // what is dialled and looked up in known_hosts
	users      []string
	ports      []int
	known      []int // ports whose recorded keys count
	keys       []keyFile
	agent      string   // the socket, or ""
	onlyNamed  bool     // of the agent's keys only those of keys
	knownHosts []string // new keys go to the first
	hops       []*route // the nearest first; the hops themselves have none

	password   func(context.Context) (string, error)
	passphrase func(context.Context, string) (string, error)
	acceptNew  bool

	connectTimeout, stepTimeout, keepAlive, grace time.Duration
}

// keyFile is a private key. An optional one may be missing.
type keyFile struct {
	path     string
	optional bool
	fallback bool // nobody named it: it comes after the agent's keys
}

func (r *route) address(port int) string { return net.JoinHostPort(r.host, strconv.Itoa(port)) }

// resolve joins a target with what ssh_config says about it.
func resolve(t Target) (*route, error) { return resolveHop(t, 0) }

func resolveHop(t Target, depth int) (*route, error) {
	if depth > maxHops {
		return nil, fmt.Errorf("cannot find the way to %s: more than %d jump hosts follow each other", t.Name, maxHops)
	}
	alias := t.Address
	if alias == "" {
		alias = t.Name
	}
	if alias == "" || strings.ContainsAny(alias, " \t\r\n,*?!|@/") || strings.HasPrefix(alias, "-") {
		return nil, fmt.Errorf("cannot use %q as the address of %q", alias, t.Name)
	}
	me, err := localAccount()
	if err != nil {
		return nil, err
	}
	s, err := settingsFor(t, alias, me)
	if err != nil {
		return nil, err
	}
	r := &route{
		name: t.Name, password: t.Password, passphrase: t.Passphrase, acceptNew: t.AcceptNew,
		connectTimeout: t.ConnectTimeout, stepTimeout: t.StepTimeout, keepAlive: t.KeepAlive, grace: t.Grace,
	}
	if r.name == "" {
		r.name = alias
	}
	e := &expander{settings: s, alias: alias, local: me}
	for _, step := range []func(*route, Target, *settings, *expander) error{place, identity, knownHostsOf} {
		if err := step(r, t, s, e); err != nil {
			return nil, err
		}
	}
	r.hops, err = hopsOf(t, s, depth)
	return r, err
}

func localAccount() (string, error) {
	u, err := user.Current()
	if err != nil {
		return "", fmt.Errorf("cannot find the name of the account that runs this: %w", err)
	}
	return u.Username, nil
}

func settingsFor(t Target, alias, me string) (*settings, error) {
	file, err := userConfig(t.SSHConfig)
	if err != nil || file == "" {
		return &settings{}, err
	}
	asked := ""
	if len(t.Users) > 0 {
		asked = t.Users[0]
	}
	return readSettings(file, alias, asked, me, t.Jump != nil)
}

// place decides host, users and ports.
func place(r *route, t Target, s *settings, e *expander) error {
	r.host = e.alias
	if s.hostName != "" {
		host, err := e.expand("hostname", s.hostName, "%h")
		if err != nil {
			return err
		}
		r.host = host
	}
	r.host = strings.TrimSuffix(strings.TrimPrefix(r.host, "["), "]")
	r.users = t.Users
	if len(r.users) == 0 && s.user != "" {
		r.users = []string{s.user}
	}
	if len(r.users) == 0 {
		r.users = []string{e.local}
	}
	r.ports = t.Ports
	if len(r.ports) == 0 && s.port != "" {
		port, err := strconv.Atoi(s.port)
		if err != nil {
			return err
		}
		r.ports = []int{port}
	}
	if len(r.ports) == 0 {
		r.ports = []int{22}
	}
	for _, port := range r.ports {
		if port < 1 || port > 65535 {
			return fmt.Errorf("cannot reach %s: %d is not a port", r.name, port)
		}
	}
	r.known = append(slices.Clone(r.ports), t.KnownPorts...)
	e.host, e.user, e.port = r.host, r.users[0], strconv.Itoa(r.ports[0])
	return nil
}

// identity decides which keys and which agent to use.
func identity(r *route, t Target, s *settings, e *expander) error {
	for _, k := range t.Keys {
		path, err := homePath(k)
		if err != nil {
			return err
		}
		r.keys = append(r.keys, keyFile{path: path})
	}
	for _, f := range s.identityFiles {
		if strings.EqualFold(f, "none") {
			continue
		}
		path, err := e.expand("identityfile", f, "")
		if err != nil {
			return err
		}
		r.keys = append(r.keys, keyFile{path: path, optional: true})
	}
	if len(t.Keys) == 0 && len(s.identityFiles) == 0 {
		for _, name := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
			if path, err := homePath("~/.ssh/" + name); err == nil {
				r.keys = append(r.keys, keyFile{path: path, optional: true, fallback: true})
			}
		}
	}
	r.onlyNamed = t.IdentitiesOnly || s.onlyIdentities()
	if !t.Agent || strings.EqualFold(s.identityAgent, "none") {
		return nil
	}
	r.agent = os.Getenv("SSH_AUTH_SOCK")
	if s.identityAgent == "" || s.identityAgent == "SSH_AUTH_SOCK" {
		return nil
	}
	path, err := e.expand("identityagent", s.identityAgent, "")
	r.agent = path
	return err
}

// knownHostsOf decides which files hold the known host keys.
func knownHostsOf(r *route, t Target, s *settings, e *expander) error {
	for _, f := range t.KnownHosts {
		path, err := homePath(f)
		if err != nil {
			return err
		}
		r.knownHosts = append(r.knownHosts, path)
	}
	if len(r.knownHosts) > 0 {
		return nil
	}
	users, err := e.files("userknownhostsfile", s.userHosts, "~/.ssh/known_hosts")
	if err != nil {
		return err
	}
	globals, err := e.files("globalknownhostsfile", s.globalHosts, "/etc/ssh/ssh_known_hosts")
	if err != nil {
		return err
	}
	if len(users) == 0 {
		return errors.New("cannot check host keys: UserKnownHostsFile is none")
	}
	r.knownHosts = append(users, globals...)
	return nil
}

// hopsOf decides which hosts to pass through. Of the hops only the first may have
// hops of its own: the others are reached through the one before.
func hopsOf(t Target, s *settings, depth int) ([]*route, error) {
	jump := t.Jump
	if jump == nil && s.jump != "" && !strings.EqualFold(s.jump, "none") {
		for _, word := range strings.Split(s.jump, ",") {
			hop, err := ParseHop(word)
			if err != nil {
				return nil, s.places["proxyjump"].fault(err.Error())
			}
			jump = append(jump, hop)
		}
	}
	var hops []*route
	for i, hop := range jump {
		hop = inherit(hop, t)
		if i > 0 && hop.Jump == nil {
			hop.Jump = []Target{}
		}
		r, err := resolveHop(hop, depth+1)
		if err != nil {
			return nil, err
		}
		hops = append(hops, r.hops...)
		r.hops = nil
		hops = append(hops, r)
	}
	return hops, nil
}

func inherit(hop, t Target) Target {
	if len(hop.Keys) == 0 {
		hop.Keys, hop.IdentitiesOnly = t.Keys, hop.IdentitiesOnly || t.IdentitiesOnly
	}
	hop.Agent = hop.Agent || t.Agent
	hop.AcceptNew = hop.AcceptNew || t.AcceptNew
	if len(hop.KnownHosts) == 0 {
		hop.KnownHosts = t.KnownHosts
	}
	if hop.Passphrase == nil {
		hop.Passphrase = t.Passphrase
	}
	if hop.SSHConfig == "" {
		hop.SSHConfig = t.SSHConfig
	}
	for _, d := range []struct{ own, from *time.Duration }{
		{&hop.ConnectTimeout, &t.ConnectTimeout}, {&hop.StepTimeout, &t.StepTimeout},
		{&hop.KeepAlive, &t.KeepAlive}, {&hop.Grace, &t.Grace},
	} {
		if *d.own <= 0 {
			*d.own = *d.from
		}
	}
	return hop
}

// ParseHop reads [user@]host[:port], or the same as an ssh:// address.
func ParseHop(text string) (Target, error) {
	bad := func(why string) (Target, error) {
		return Target{}, fmt.Errorf("cannot use %q as a jump host: %s", text, why)
	}
	rest := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(text), "ssh://"), "/")
	var t Target
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		if at == 0 {
			return bad("the user is missing")
		}
		t.Users, rest = []string{rest[:at]}, rest[at+1:]
	}
	host, port := rest, ""
	if strings.HasPrefix(rest, "[") || strings.Count(rest, ":") == 1 {
		var ok bool
		if host, port, ok = cutPort(rest); !ok {
			return bad("want host:port")
		}
	}
	if host == "" {
		return bad("the host is missing")
	}
	if port != "" {
		n, err := strconv.Atoi(port)
		if err != nil || n < 1 || n > 65535 {
			return bad(strconv.Quote(port) + " is not a port")
		}
		t.Ports = []int{n}
	}
	t.Name, t.Address = host, host
	return t, nil
}

// cutPort takes host:port, [host] or [host]:port apart.
func cutPort(s string) (host, port string, ok bool) {
	if inner, found := strings.CutPrefix(s, "["); found && strings.HasSuffix(inner, "]") {
		return strings.TrimSuffix(inner, "]"), "", true
	}
	host, port, err := net.SplitHostPort(s)
	return host, port, err == nil && port != ""
}
