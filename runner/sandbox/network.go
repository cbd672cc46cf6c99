package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The one place of the whole machine: who sets up a network must exclude all
// others, whatever their folders.
const (
	machineDir  = "/run/holdfast-sandbox"
	forwardMark = machineDir + "/ip_forward" // exists when we switched forwarding on
	forwardFile = "/proc/sys/net/ipv4/ip_forward"
)

// networkState says which subnet the sandbox has.
type networkState struct {
	Network int `json:"network"` // 10.213.Network.0/24
	MTU     int `json:"mtu"`
}

func (n networkState) gateway() string { return fmt.Sprintf("10.213.%d.1", n.Network) }
func (n networkState) subnet() string  { return fmt.Sprintf("10.213.%d.0/24", n.Network) }

func (s *Sandbox) networkFile() string { return filepath.Join(s.dir, "network.json") }

// networkUp makes the bridge and the rules, or finds them made.
func (s *Sandbox) networkUp(ctx context.Context) (networkState, error) {
	unlock, err := lock(ctx, machineDir+"/lock", nil)
	if err != nil {
		return networkState{}, err
	}
	defer unlock()
	n, err := s.pickNetwork(ctx)
	if err != nil {
		return n, err
	}
	if err := writeJSON(s.networkFile(), n); err != nil {
		return n, err
	}
	if _, err := net.InterfaceByName(s.bridge()); err != nil {
		if _, err := run(ctx, "", "ip", "link", "add", s.bridge(), "mtu", strconv.Itoa(n.MTU), "type", "bridge"); err != nil {
			return n, err
		}
	}
	if _, err := run(ctx, "", "ip", "address", "replace", n.gateway()+"/24", "dev", s.bridge()); err != nil {
		return n, err
	}
	if _, err := run(ctx, "", "ip", "link", "set", s.bridge(), "up"); err != nil {
		return n, err
	}
	if _, err := run(ctx, s.rules(n), "nft", "-f", "-"); err != nil {
		return n, err
	}
	if err := s.openForward(ctx); err != nil {
		return n, err
	}
	allowInstances()
	return n, switchForwardingOn()
}

// rules lets the hosts out and nobody in. The bridge table holds the hosts whose
// cable is pulled; it stays as it is when it exists.
func (s *Sandbox) rules(n networkState) string {
	return fmt.Sprintf(`
table inet %[1]s
delete table inet %[1]s
table inet %[1]s {
	chain forward {
		type filter hook forward priority filter; policy accept;
		oifname "%[2]s" iifname != "%[2]s" ct state established,related accept
		oifname "%[2]s" iifname != "%[2]s" drop
	}
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr %[3]s oifname != "%[2]s" masquerade
	}
}
table bridge %[1]s {
	set unplugged {
		type ifname;
	}
}
flush table bridge %[1]s
table bridge %[1]s {
	chain prerouting {
		type filter hook prerouting priority 0; policy accept;
		iifname @unplugged ether type { ip, ip6 } drop;
	}
	chain postrouting {
		type filter hook postrouting priority 0; policy accept;
		oifname @unplugged ether type { ip, ip6 } drop;
	}
}
`, s.table(), s.bridge(), n.subnet())
}

// pickNetwork returns the recorded subnet, or a free one.
func (s *Sandbox) pickNetwork(ctx context.Context) (networkState, error) {
	var n networkState
	recorded := readJSON(s.networkFile(), &n) == nil
	if recorded {
		if _, err := net.InterfaceByName(s.bridge()); err == nil {
			return n, nil
		}
	}
	taken, mtu, err := machineNetworks(ctx, s.bridge())
	if err != nil {
		return n, err
	}
	if !recorded {
		// Sandboxes begin to search at different places, so that one that comes
		// back most often finds its old addresses free.
		start, _ := strconv.ParseUint(s.id[:2], 16, 16)
		n.Network = int(start)
	}
	n.MTU = mtu
	number, err := freeNetwork(n.Network, taken)
	if err != nil {
		return n, err
	}
	if recorded && number != n.Network {
		hosts, _, err := s.readHosts()
		if err != nil || len(hosts) > 0 {
			return n, fmt.Errorf("cannot bring up the network %s: something else on this machine uses it now (take the hosts down first)", n.subnet())
		}
	}
	n.Network = number
	return n, nil
}

// freeNetwork returns the first number from start on, round the corner, whose
// subnet touches none of the taken ones.
func freeNetwork(start int, taken []netip.Prefix) (int, error) {
	for i := range 256 {
		number := (start + i) % 256
		subnet := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 213, byte(number), 0}), 24)
		if !slices.ContainsFunc(taken, subnet.Overlaps) {
			return number, nil
		}
	}
	return 0, errors.New("cannot find a free network: all of 10.213.0.0/16 is taken on this machine")
}

// machineNetworks lists the subnets in use on this machine, but for those of one
// link, and the packet size of the way out.
func machineNetworks(ctx context.Context, except string) ([]netip.Prefix, int, error) {
	text, err := run(ctx, "", "ip", "-json", "-4", "route", "show", "table", "all")
	if err != nil {
		return nil, 0, err
	}
	var routes []struct {
		Dst, Dev string
	}
	if err := json.Unmarshal([]byte(text), &routes); err != nil {
		return nil, 0, fmt.Errorf("cannot read the routes of this machine: %w", err)
	}
	var taken []netip.Prefix
	mtu := 1500
	for _, route := range routes {
		if route.Dst == "default" {
			if dev, err := net.InterfaceByName(route.Dev); err == nil {
				mtu = min(mtu, dev.MTU)
			}
			continue
		}
		prefix, err := netip.ParsePrefix(route.Dst)
		if err != nil {
			addr, err := netip.ParseAddr(route.Dst)
			if err != nil {
				continue
			}
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		// A route as wide as all of ten-dot leads somewhere else in general, not
		// to a neighbour that we would hide.
		if route.Dev != except && prefix.Bits() > 8 {
			taken = append(taken, prefix)
		}
	}
	return taken, mtu, nil
}

// instancesFile bounds how many inotify instances an account may have. A kernel begins
// with 128, systemd in a host takes nine of root's, and a host that gets none hangs at its boot.
const (
	instancesFile = "/proc/sys/fs/inotify/max_user_instances"
	instances     = 1024
)

// allowInstances raises the bound where it is lower and may be raised. It stays: others
// may count on it by then.
func allowInstances() {
	text, err := os.ReadFile(instancesFile)
	if now, convErr := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && convErr == nil && now < instances {
		_ = os.WriteFile(instancesFile, []byte(strconv.Itoa(instances)), 0o644) // a few hosts do with less
	}
}

func switchForwardingOn() error {
	value, err := os.ReadFile(forwardFile)
	if err != nil || strings.TrimSpace(string(value)) == "1" {
		return err
	}
	if err := os.WriteFile(forwardMark, nil, 0o600); err != nil {
		return err
	}
	return os.WriteFile(forwardFile, []byte("1"), 0o644)
}

// networkDown takes away what networkUp made. It needs no state.
func (s *Sandbox) networkDown(ctx context.Context) error {
	unlock, err := lock(ctx, machineDir+"/lock", nil)
	if err != nil {
		return err
	}
	defer unlock()
	for _, name := range s.links() {
		if err := deleteLink(ctx, name); err != nil {
			return err
		}
	}
	if err := deleteLink(ctx, s.bridge()); err != nil {
		return err
	}
	// Naming a table before deleting it makes the deletion succeed either way.
	rules := fmt.Sprintf("table inet %[1]s\ndelete table inet %[1]s\ntable bridge %[1]s\ndelete table bridge %[1]s\n", s.table())
	if _, err := run(ctx, rules, "nft", "-f", "-"); err != nil {
		return err
	}
	if err := s.closeForward(ctx); err != nil {
		return err
	}
	return switchForwardingOff(ctx)
}

// links lists the links of hosts that exist on the machine.
func (s *Sandbox) links() []string {
	all, _ := net.Interfaces()
	var names []string
	for _, link := range all {
		if strings.HasPrefix(link.Name, s.bridge()+"-") {
			names = append(names, link.Name)
		}
	}
	return names
}

// deleteLink deletes a link, or finds it gone: the kernel takes a link away some
// time after its namespace.
func deleteLink(ctx context.Context, name string) error {
	if _, err := net.InterfaceByName(name); err != nil {
		return nil
	}
	_, err := run(ctx, "", "ip", "link", "delete", name)
	if _, lookErr := net.InterfaceByName(name); lookErr != nil {
		return nil
	}
	return err
}

// switchForwardingOff restores what switchForwardingOn changed when no sandbox
// is left, unless something else has come that forwards too.
func switchForwardingOff(ctx context.Context) error {
	if _, err := os.Stat(forwardMark); err != nil {
		return nil
	}
	text, err := run(ctx, "", "ip", "-json", "-details", "link", "show")
	if err != nil {
		return err
	}
	var links []struct {
		Linkinfo struct {
			Kind string `json:"info_kind"`
		} `json:"linkinfo"`
	}
	if err := json.Unmarshal([]byte(text), &links); err != nil {
		return fmt.Errorf("cannot read the links of this machine: %w", err)
	}
	for _, link := range links {
		switch link.Linkinfo.Kind {
		case "", "ifb", "dummy", "bond", "vlan", "veth":
		default:
			return nil
		}
	}
	if err := os.WriteFile(forwardFile, []byte("0"), 0o644); err != nil {
		return err
	}
	return os.Remove(forwardMark)
}

// forwardRules let packets of the bridge through a firewall whose policy is to
// drop what is forwarded, as Docker sets it. Our own table still keeps others out.
func (s *Sandbox) forwardRules() [][]string {
	return [][]string{
		{"-i", s.bridge(), "-j", "ACCEPT"},
		{"-o", s.bridge(), "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"},
	}
}

func (s *Sandbox) openForward(ctx context.Context) error {
	chain, err := run(ctx, "", "iptables", "-w", "-S", "FORWARD")
	if err != nil || !strings.Contains(chain, "-P FORWARD DROP") || strings.Contains(chain, s.bridge()+" ") {
		return nil
	}
	for _, rule := range s.forwardRules() {
		if _, err := run(ctx, "", "iptables", append([]string{"-w", "-I", "FORWARD"}, rule...)...); err != nil {
			return err
		}
	}
	return nil
}

func (s *Sandbox) closeForward(ctx context.Context) error {
	chain, err := run(ctx, "", "iptables", "-w", "-S", "FORWARD")
	if err != nil || !strings.Contains(chain, s.bridge()+" ") {
		return nil
	}
	for _, rule := range s.forwardRules() {
		if _, err := run(ctx, "", "iptables", append([]string{"-w", "-D", "FORWARD"}, rule...)...); err != nil {
			return err
		}
	}
	return nil
}
