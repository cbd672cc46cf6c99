package remote_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/runner/remote"
)

func TestPushOnce(t *testing.T) {
	c, bin := newTarget(t), script(t, "first")
	o := open(t, c, bin, remote.Root{})
	o.works(t, "first")
	want := filepath.Join(c.home, ".cache/holdfast", bin.Hash[:16], "helper")
	if len(o.pushed) != 1 || o.pushed[0].Path != want || o.pushed[0].Platform != platform() || o.pushed[0].Bytes == 0 {
		t.Fatalf("got pushes %+v, want one to %s", o.pushed, want)
	}
	for name, mode := range map[string]os.FileMode{want: 0o700, filepath.Dir(want): 0o700, filepath.Dir(filepath.Dir(want)): 0o700} {
		if st, err := os.Stat(name); err != nil || st.Mode().Perm() != mode {
			t.Errorf("%s: got %v, %v, want mode %o", name, st.Mode(), err, mode)
		}
	}
	o = open(t, c, bin, remote.Root{})
	o.works(t, "first")
	if len(o.pushed) != 0 {
		t.Errorf("second start: got pushes %+v, want none", o.pushed)
	}
	// Another build goes beside it.
	o = open(t, c, script(t, "second"), remote.Root{})
	o.works(t, "second")
	if len(o.pushed) != 1 {
		t.Errorf("another build: got pushes %+v, want one", o.pushed)
	}
	left, err := filepath.Glob(filepath.Join(c.home, ".cache/holdfast/*/.*"))
	if err != nil || len(left) != 0 {
		t.Errorf("got %v left behind, %v", left, err)
	}
}

func TestWrongCopyIsReplaced(t *testing.T) {
	c, bin := newTarget(t), script(t, "right")
	open(t, c, bin, remote.Root{}).works(t, "right")
	name := filepath.Join(c.home, ".cache/holdfast", bin.Hash[:16], "helper")
	if err := os.WriteFile(name, []byte("#!/bin/sh\ntouch "+c.home+"/ran\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	o := open(t, c, bin, remote.Root{})
	o.works(t, "right")
	if len(o.pushed) != 1 {
		t.Errorf("got pushes %+v, want one", o.pushed)
	}
	if _, err := os.Stat(filepath.Join(c.home, "ran")); err == nil {
		t.Error("the wrong copy was run")
	}
}

func TestPlaces(t *testing.T) {
	const noexec = "mount -t tmpfs -o mode=1777,noexec none %s\n"
	const readonly = "mount -t tmpfs -o ro none %s\n"
	tests := []struct {
		name, prep string
		root       bool
		path       string // where it went
		fails      []string
	}{
		{name: "root", root: true, path: "/var/cache/"},
		{name: "root, noexec", root: true, prep: fmt.Sprintf(noexec+noexec, "/var/cache", "/var/lib"), path: "/run/"},
		{name: "root, read-only", root: true, prep: fmt.Sprintf(readonly, "/var/cache"), path: "/var/lib/"},
		{name: "root, nowhere", root: true, prep: fmt.Sprintf(noexec+readonly+noexec+noexec, "/var/cache", "/var/lib", "/run", "/dev/shm"),
			fails: []string{"no place for the helper", "/var/cache (noexec)", "/var/lib (not writable)", "/run (noexec)", "/dev/shm (noexec)"}},
		{name: "account, no home", prep: "export HOME=/nowhere", path: "/var/tmp/"},
		{name: "account, nowhere", prep: "export HOME=/nowhere; " + fmt.Sprintf(noexec+noexec, "/var/tmp", "/dev/shm"),
			fails: []string{"/nowhere/.cache (not writable)", "/run/user/12345 (not writable)", "/var/tmp (noexec)", "/dev/shm (noexec)"}},
		{name: "somebody else's folder", prep: "export HOME=/nowhere; mkdir -m 777 /var/tmp/holdfast", path: "/dev/shm/"},
		{name: "somebody else's link to a folder of ours",
			prep: "export HOME=/nowhere; mkdir /var/tmp/ours; chown 12345 /var/tmp/ours; ln -s ours /var/tmp/holdfast", path: "/dev/shm/"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newTarget(t)
			c.prep, c.root = tt.prep, tt.root
			left := filepath.Join(c.home, "left")
			c.after = "find /var/cache /var/lib /var/tmp /run /dev/shm -mindepth 1 ! -user 0 -o -name '*holdfast*' >" + left
			o := open(t, c, script(t, "placed"), remote.Root{})
			if tt.fails == nil {
				o.works(t, "placed")
				if len(o.pushed) != 1 || !strings.HasPrefix(o.pushed[0].Path, tt.path) {
					t.Errorf("got %+v, want it below %s", o.pushed, tt.path)
				}
				return
			}
			o.fails(t, tt.fails...)
			if b, err := os.ReadFile(left); err != nil || len(b) != 0 {
				t.Errorf("got left behind %q, %v", b, err)
			}
		})
	}
}

func TestLoginShells(t *testing.T) {
	c := newTarget(t)
	// It takes -c with one word and nothing else, and talks.
	odd := c.file(t, "odd", "#!/bin/sh\n[ $# = 2 ] && [ \"$1\" = -c ] || exit 64\necho 'Last login: today'; echo 'no mail' >&2; eval \"$2\"\n")
	shells := map[string][]string{"odd": {odd}, "dash": {"/bin/dash"}, "bash": {"/bin/bash"}, "bash as a login": {"/bin/bash", "-l"}}
	for _, name := range []string{"tcsh", "csh", "fish", "zsh", "mksh"} {
		if file := "/usr/bin/" + name; exists(file) {
			shells[name] = []string{file}
		}
	}
	for name, login := range shells {
		t.Run(name, func(t *testing.T) {
			c := newTarget(t)
			c.login = login
			bin := script(t, name)
			open(t, c, bin, remote.Root{}).works(t, name)
			open(t, c, bin, remote.Root{}).works(t, name)
		})
	}
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// noisy returns a login shell that prints what a shell command prints first.
func noisy(t *testing.T, c *target, command string) {
	t.Helper()
	c.login = []string{c.file(t, "noisy", "#!/bin/sh\n"+command+"\nshift\neval \"$1\"\n")}
}

func TestNoise(t *testing.T) {
	tests := []struct{ name, command string }{
		{"a banner", `echo; echo '*** no trespassing ***'; echo`},
		{"no line end", `printf 'motd without an end'`},
		{"other programs' words", `echo HOLDFAST-PUSH 0123456789abcdef Linux/x86_64 /tmp/evil; echo HOLDFAST-DAMAGED 0123456789abcdef 0; echo HOLDFAST-NOPLACE; echo HOLDFAST-PLATFORM x y; echo 'HOLDFAST-HELPER 1'`},
		{"zero bytes", `printf '\000\000HOLDFAST\000\n\000HOLDFAST-HELPE'`},
		{"60 KiB", `head -c 61440 /dev/zero | tr '\0' x; echo`},
		{"on the other stream", `head -c 500000 /dev/zero | tr '\0' x >&2`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newTarget(t)
			noisy(t, c, tt.command)
			o := open(t, c, script(t, "heard"), remote.Root{})
			o.works(t, "heard")
			if len(o.pushed) != 1 || strings.Contains(o.pushed[0].Path, "evil") {
				t.Errorf("got pushes %+v", o.pushed)
			}
		})
	}
}

func TestTooMuchNoise(t *testing.T) {
	for _, command := range []string{`yes | head -c 66560`, `yes`, `head -c 66560 /dev/zero`} {
		c := newTarget(t)
		noisy(t, c, command)
		open(t, c, script(t, "lost"), remote.Root{}).fails(t, "the login printed more than 64 KiB and the helper did not start")
	}
}

func TestWhatItSaidIsQuotedSafely(t *testing.T) {
	c := newTarget(t)
	noisy(t, c, `printf 'This account is \033[31mlocked\033[0m \007\342\200\256 until Monday.\r\n'; exit 1`)
	open(t, c, script(t, ""), remote.Root{}).fails(t, "the helper did not start; it said: This account is ·[31mlocked", "until Monday.")
	noisy(t, c, `echo kept for later; echo cannot find the home >&2; exit 1`)
	open(t, c, script(t, ""), remote.Root{}).fails(t, "it said: cannot find the home")
	noisy(t, c, `yes 'line of a very long complaint' | head -c 60000 >&2; exit 1`)
	o := open(t, c, script(t, ""), remote.Root{})
	o.fails(t, "line of a very long complaint")
	if len(o.err.Error()) > 3000 {
		t.Errorf("got an error of %d bytes", len(o.err.Error()))
	}
}

func TestOtherMachines(t *testing.T) {
	c := newTarget(t)
	c.path = filepath.Dir(c.file(t, "bin/uname", "#!/bin/sh\n[ \"$1\" = -s ] && echo Linux || echo mips64\n"))
	open(t, c, script(t, ""), remote.Root{}).fails(t, "no helper for Linux/mips64", "this build has "+platform())
	c.file(t, "bin/uname", "#!/bin/sh\n[ \"$1\" = -s ] && echo FreeBSD || echo x86_64\n")
	open(t, c, script(t, ""), remote.Root{}).fails(t, "no helper for FreeBSD/x86_64")
}

// large is a helper that no compression makes small.
func large(t *testing.T) remote.Binary {
	t.Helper()
	var b bytes.Buffer
	b.WriteString("#!/bin/sh\nexit\n")
	r := rand.New(rand.NewPCG(1, 2))
	for b.Len() < 3<<20 {
		b.WriteByte(byte(r.Uint32()))
	}
	return binary(t, b.String())
}

func TestFullDisk(t *testing.T) {
	c := newTarget(t)
	left := filepath.Join(c.home, "left")
	cache := filepath.Join(c.home, ".cache")
	c.prep = "mkdir -p " + cache + "; mount -t tmpfs -o mode=1777,size=100k none " + cache
	c.after = "find " + cache + " -type f >" + left
	o := open(t, c, large(t), remote.Root{})
	o.fails(t, "the helper arrived damaged (", "KiB are free there")
	if b, err := os.ReadFile(left); err != nil || len(b) != 0 {
		t.Errorf("got left behind %q, %v, want nothing", b, err)
	}
}

func TestDamagedOnTheWay(t *testing.T) {
	good := script(t, "good")
	tests := []struct {
		name string
		gzip func([]byte) []byte
	}{
		{"cut", func(b []byte) []byte { return b[:len(b)/2] }},
		{"changed", func(b []byte) []byte { b[len(b)/2] ^= 1; return b }},
		{"no gzip", func([]byte) []byte { return []byte("hello") }},
		{"empty", func([]byte) []byte { return nil }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, bin := newTarget(t), good
			bin.Gzip = func() ([]byte, error) {
				b, err := good.Gzip()
				return tt.gzip(b), err
			}
			open(t, c, bin, remote.Root{}).fails(t, "the helper arrived damaged")
			left, err := filepath.Glob(filepath.Join(c.home, ".cache/holdfast/*/*"))
			dots, _ := filepath.Glob(filepath.Join(c.home, ".cache/holdfast/*/.*"))
			if err != nil || len(left)+len(dots) != 0 {
				t.Errorf("got left behind %v %v, %v", left, dots, err)
			}
			open(t, c, good, remote.Root{}).works(t, "good")
		})
	}
	c, bin := newTarget(t), good
	bin.Gzip = func() ([]byte, error) { return nil, errors.New("no such thing") }
	open(t, c, bin, remote.Root{}).fails(t, "cannot read the helper: no such thing")
}

func TestHelperThatDoesNotRun(t *testing.T) {
	c := newTarget(t)
	open(t, c, binary(t, "#!/bin/sh\necho cannot find libc >&2\nexit 127\n"), remote.Root{}).fails(t, "the helper did not start; it said: cannot find libc")
	open(t, c, binary(t, "#!/no/such/interpreter\n"), remote.Root{}).fails(t, "the helper did not start", "not found")
	if _, err := remote.Open(t.Context(), c, remote.Options{}); err == nil {
		t.Error("without any helper: got no error")
	}
}
