package sandbox

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func lines(list []source) []string {
	var text []string
	for _, s := range list {
		text = append(text, s.line())
	}
	return text
}

func TestParseOneLine(t *testing.T) {
	got := lines(parseOneLine(`# a comment
deb http://deb.debian.org/debian bookworm main contrib # and why
deb-src http://deb.debian.org/debian bookworm main
deb	[ arch=amd64 signed-by=/usr/share/keyrings/a.gpg,/b.gpg ]  https://mirror.test/debian  bookworm-updates  main
deb [broken http://x y z
deb http://short/ ./
`))
	want := []string{
		"deb http://deb.debian.org/debian bookworm main contrib",
		"deb [signed-by=/usr/share/keyrings/a.gpg] https://mirror.test/debian bookworm-updates main",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestParseDeb822(t *testing.T) {
	got := lines(parseDeb822(`# a comment
Types: deb deb-src
URIs: http://deb.debian.org/debian
Suites: bookworm bookworm-updates
# in between
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://off.test/debian
Suites: bookworm
Components: main
Enabled: no

Types: deb-src
URIs: http://source.test/debian
Suites: bookworm
Components: main


Types: deb
URIs: http://one.test/debian
  http://two.test/debian
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----
`))
	want := []string{
		"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main",
		"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm-updates main",
		"deb http://one.test/debian bookworm main",
		"deb http://two.test/debian bookworm main",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSourcesFor(t *testing.T) {
	machine := parseOneLine(`
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.test/all bookworm main non-free
deb http://ftp.de.debian.org/debian/ bookworm-updates main
deb http://ftp.de.debian.org/debian/ bookworm-updates main
deb http://mirror.test/debian-security bookworm-security main
deb http://mirror.test/debian bookworm-backports main
deb [signed-by=/usr/share/keyrings/hashicorp.gpg] https://apt.releases.test bookworm main
deb [signed-by=/usr/share/keyrings/tailscale.gpg] https://pkgs.tailscale.test/stable/debian bookworm main
deb https://download.docker.test/linux/debian bookworm stable
deb https://packages.vendor.test/debian bookworm main
deb http://apt.postgresql.test/pub/repos/apt bookworm-pgdg main
deb http://nodistro.test/node nodistro main
`)
	for _, c := range []struct {
		suite, code string
		machine     []source
		want        []string
	}{
		{"bookworm", "bookworm", machine, []string{
			"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.test/all bookworm main non-free",
			"deb http://ftp.de.debian.org/debian/ bookworm-updates main",
			"deb http://mirror.test/debian-security bookworm-security main",
		}},
		{"trixie", "bookworm", machine[:2], []string{
			"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.test/all trixie main non-free",
			"deb http://ftp.de.debian.org/debian/ trixie-updates main",
		}},
		// Only updates are known: not a place to build from.
		{"bookworm", "bookworm", machine[1:2], lines(suites[0].sources())},
		{"bookworm", "", machine, lines(suites[0].sources())},
		{"noble", "bookworm", machine, lines(suites[3].sources())},
	} {
		st, err := findSuite(c.suite)
		if err != nil {
			t.Fatal(err)
		}
		if got := lines(sourcesFor(st, c.machine, c.code)); !slices.Equal(got, c.want) {
			t.Errorf("%s on %q: got %q, want %q", c.suite, c.code, got, c.want)
		}
	}
}

func TestMachineSources(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"sources.list":              "deb http://a.test/debian bookworm main\n",
		"sources.list.d/b.list":     "deb http://b.test/debian bookworm main\n",
		"sources.list.d/c.sources":  "Types: deb\nURIs: http://c.test/debian\nSuites: bookworm\nComponents: main\n",
		"sources.list.d/d.list.off": "deb http://d.test/debian bookworm main\n",
	} {
		path := filepath.Join(root, "etc/apt", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got := lines(machineSources(root))
	want := []string{"deb http://a.test/debian bookworm main", "deb http://b.test/debian bookworm main", "deb http://c.test/debian bookworm main"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPickSettings(t *testing.T) {
	got := withoutLoopback(pickSettings(`Acquire "";
Acquire::cdrom "";
Acquire::http "";
Acquire::http::Proxy "http://proxy.test:3142";
Acquire::https::Proxy "http://127.0.0.1:3142";
Acquire::Check-Date "false";
Acquire::IndexTargets::deb::Packages::MetaKey "x";
`))
	want := "Acquire::http::Proxy \"http://proxy.test:3142\";\nAcquire::Check-Date \"false\";\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFreeNetwork(t *testing.T) {
	prefixes := func(list ...string) (all []netip.Prefix) {
		for _, text := range list {
			all = append(all, netip.MustParsePrefix(text))
		}
		return all
	}
	for _, c := range []struct {
		start int
		taken []netip.Prefix
		want  int
	}{
		{7, nil, 7},
		{7, prefixes("10.213.7.0/24", "10.213.8.1/32", "192.168.0.0/16"), 9},
		{255, prefixes("10.213.255.128/25"), 0},
		{0, prefixes("10.213.0.0/17"), 128},
		{0, prefixes("10.192.0.0/10"), -1},
	} {
		got, err := freeNetwork(c.start, c.taken)
		if err != nil {
			got = -1
		}
		if got != c.want {
			t.Errorf("from %d with %v taken: got %d (%v), want %d", c.start, c.taken, got, err, c.want)
		}
	}
}

func TestFreeIndex(t *testing.T) {
	if got, err := freeIndex([]hostState{{Index: 2}, {Index: 3}, {Index: 5}}); got != 4 || err != nil {
		t.Errorf("got %d, %v, want 4", got, err)
	}
	var all []hostState
	for i := 2; i <= 254; i++ {
		all = append(all, hostState{Index: i})
	}
	if got, err := freeIndex(all); err == nil {
		t.Errorf("with all taken: got %d, want an error", got)
	}
}

func openIn(t *testing.T, dir string) *Sandbox {
	t.Helper()
	s, err := Open(Options{Dir: dir, Cache: filepath.Join(dir, "cache")})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestState(t *testing.T) {
	s := openIn(t, t.TempDir())
	two := hostState{Name: "two", Suite: "trixie", Base: "/b", Index: 3, Network: 7, Layers: []string{"x"}, Ready: true}
	one := hostState{Name: "one", Suite: "bookworm", Base: "/b", Index: 2, Network: 7}
	for _, h := range []hostState{two, one} {
		if err := s.writeHost(h); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"torn": `{"name": "to`, "wrong": `{"name": "other", "index": 4}`, "empty": ""} {
		if err := os.MkdirAll(s.hostDir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(s.hostFile(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	hosts, broken, err := s.readHosts()
	if err != nil || len(hosts) != 2 || hosts[0].Name != "one" || hosts[1].address() != "10.213.7.3" || !slices.Equal(hosts[1].Layers, two.Layers) {
		t.Errorf("got hosts %+v, %v, want one and two", hosts, err)
	}
	if want := []string{"empty", "torn", "wrong"}; !slices.Equal(broken, want) {
		t.Errorf("got broken %q, want %q", broken, want)
	}
	list, err := s.List(t.Context())
	if err != nil || len(list) != 5 {
		t.Fatalf("got %+v, %v, want five hosts", list, err)
	}
	for i, want := range []State{Broken, Stopped, Broken, Broken, Broken} {
		if list[i].State != want {
			t.Errorf("%s: got %s, want %s", list[i].Name, list[i].State, want)
		}
	}
	if _, err := s.find("../one"); err == nil {
		t.Error("a name that leaves the folder: got no error")
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 120*time.Millisecond)
	defer cancel()
	told := 0
	if _, err := lock(ctx, path, func() { told++ }); !errors.Is(err, context.DeadlineExceeded) || told != 1 {
		t.Errorf("a lock that is taken: got %v, told %d times, want a time-out and once", err, told)
	}
	unlock()
	unlock, err = lock(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestOpen(t *testing.T) {
	for _, o := range []Options{
		{Dir: "/"}, {Dir: "/run/x"}, {Dir: "/tmp/it's"}, {Dir: "/tmp/a b"}, {Dir: "/tmp/a:b"}, {Cache: "/proc/x"}, {Suite: "warty"},
	} {
		if _, err := Open(o); err == nil {
			t.Errorf("Open(%+v): got no error", o)
		}
	}
	for _, name := range []string{"", "bookworm", "debian-13", "debian12", "ubuntu-24.04", "noble"} {
		if _, err := Open(Options{Suite: name}); err != nil {
			t.Errorf("Open with suite %q: got %v", name, err)
		}
	}
	one, two := openIn(t, "/tmp/one"), openIn(t, "/tmp/two")
	if one.bridge() == two.bridge() || len(one.link(254)) > 15 {
		t.Errorf("got bridges %s and %s, link %s, want two names and at most 15 letters", one.bridge(), two.bridge(), one.link(254))
	}
}

func TestUpNames(t *testing.T) {
	for _, c := range []struct {
		o    UpOptions
		want string
	}{
		{UpOptions{}, "sb1"},
		{UpOptions{Count: 3, Prefix: "web"}, "web1 web2 web3"},
		{UpOptions{Count: 3, Names: []string{"a", "b"}}, "a b"},
		{UpOptions{Names: []string{"a", "a"}}, ""},
		{UpOptions{Names: []string{"A"}}, ""},
		{UpOptions{Names: []string{"../x"}}, ""},
		{UpOptions{Prefix: "1"}, ""},
	} {
		names, err := c.o.names()
		if got := strings.Join(names, " "); got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%+v: got %q, %v, want %q", c.o, got, err, c.want)
		}
	}
}

func TestHostsFile(t *testing.T) {
	text := string(hostsFile("sb1", "127.0.0.1 localhost me\n::1 localhost\n10.9.8.7  mirror.test mirror # ours\nrubbish\n"))
	for _, want := range []string{"127.0.0.1\tlocalhost\n", "127.0.1.1\tsb1\n", "10.9.8.7\tmirror.test\tmirror\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("got %q, want %q in it", text, want)
		}
	}
	if strings.Contains(text, "me") {
		t.Errorf("got %q, want no name of this machine", text)
	}
}

func TestHasOutsideServer(t *testing.T) {
	for text, want := range map[string]bool{
		"nameserver 127.0.0.53\n": false, "nameserver ::1\nsearch x\n": false, "": false,
		"nameserver 127.0.0.1\nnameserver 192.0.2.1\n": true, "nameserver fd00::1\n": true,
	} {
		if got := hasOutsideServer(text); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
}

func TestParseHierarchies(t *testing.T) {
	got := parseHierarchies(`31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
36 31 0:33 / /sys/fs/cgroup/devices ro,relatime - cgroup cgroup rw,devices
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
`)
	want := []hierarchy{{path: "/sys/fs/cgroup/cpuset", cpuset: true}, {path: "/sys/fs/cgroup/unified", v2: true}}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestLayoutOf(t *testing.T) {
	v1, v2 := hierarchy{path: "/sys/fs/cgroup/pids"}, hierarchy{path: "/sys/fs/cgroup/unified", v2: true}
	for want, list := range map[string][]hierarchy{"legacy": {v1}, "hybrid": {v1, v2}, "unified": {v2}} {
		if got := layoutOf(list); got != want {
			t.Errorf("%+v: got %s, want %s", list, got, want)
		}
	}
}

func TestInventoryText(t *testing.T) {
	s := openIn(t, "/tmp/one")
	got := s.inventoryText([]hostState{{Name: "sb1", Suite: "bookworm", Network: 5, Index: 2}})
	want := `hosts:
  sb1: {address: 10.213.5.2, labels: {sandbox: "true", suite: bookworm}}
ssh: {users: [root, adminclaw], ports: [22, 222], keys: ["/tmp/one/key"], known_hosts: "/tmp/one/known_hosts"}
vars: {never_ban: ["10.213.5.1"]}
`
	if _, got, _ = strings.Cut(got, "\n"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := s.inventoryText(nil); !strings.Contains(got, "hosts: {}\n") {
		t.Errorf("without hosts: got %s", got)
	}
}

// A layer's new folders are as the layers below have them.
func TestLayer(t *testing.T) {
	base, upper := t.TempDir(), t.TempDir()
	if err := os.MkdirAll(filepath.Join(base, "a/b"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(base, "a/b"), 0o750|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	if err := (layer{upper: upper, lower: []string{base}}).file("/a/b/c/d", []byte("x"), 0o640); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{
		"a": 0o755 | os.ModeDir, "a/b": 0o750 | os.ModeDir | os.ModeSticky, "a/b/c": 0o755 | os.ModeDir, "a/b/c/d": 0o640,
	} {
		info, err := os.Stat(filepath.Join(upper, path))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("%s: got mode %s, want %s", path, info.Mode(), want)
		}
	}
}
