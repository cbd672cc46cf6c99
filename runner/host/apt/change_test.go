package apt_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"holdfast/runner/host/apt"
)

// reply is what the fake runner answers to one command.
type reply struct {
	status int
	out    string
	err    error
}

// fake is a Runner that records what it is asked to run.
type fake struct {
	mu      sync.Mutex
	argv    [][]string
	env     [][]string
	replies []reply
	during  func(ctx context.Context)
}

func (f *fake) run(ctx context.Context, argv, env []string, onLine func(string)) (status int, out string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.argv, f.env = append(f.argv, argv), append(f.env, env)
	if f.during != nil {
		f.during(ctx)
	}
	var r reply
	if len(f.replies) > 0 {
		r, f.replies = f.replies[0], f.replies[1:]
	}
	for _, line := range strings.Split(r.out, "\n") {
		if onLine != nil {
			onLine(line)
		}
	}
	return r.status, r.out, r.err
}

// words returns the command without the options that go with every apt-get.
func (f *fake) words(i int) string {
	if i >= len(f.argv) {
		return ""
	}
	var out []string
	skip := false
	for _, a := range f.argv[i] {
		switch {
		case skip:
			skip = false
		case a == "-o":
			skip = true
		case a == "-y" || a == "-q":
		default:
			out = append(out, a)
		}
	}
	return strings.Join(out, " ")
}

// calm is a root with three packages, none of which is half configured.
func calm(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	write(t, filepath.Join(root, "var/lib/dpkg/arch"), "amd64\n")
	write(t, filepath.Join(root, "var/lib/dpkg/status"), `Package: jq
Status: install ok installed
Architecture: amd64
Version: 1.6-2

Package: containerd.io
Status: install ok installed
Architecture: amd64
Version: 1.7
Provides: runc

Package: left
Status: deinstall ok config-files
Architecture: all
Version: 1
`)
	write(t, filepath.Join(root, "var/lib/apt/lists/mirror_InRelease"), "")
	return root
}

func TestInstallAsksAptForWhatIsMissing(t *testing.T) {
	for _, c := range []struct {
		name  string
		specs []apt.Spec
		want  string
	}{
		{"there already", []apt.Spec{{Name: "jq"}}, ""},
		{"there in that version", []apt.Spec{{Name: "jq", Version: "1.6-2"}}, ""},
		{"the newest", []apt.Spec{{Name: "jq", Latest: true}}, "apt-get install -- jq"},
		{"without what is recommended", []apt.Spec{{Name: "htop", Lean: true}}, "apt-get install --no-install-recommends -- htop"},
		{"newer", []apt.Spec{{Name: "jq", Version: "1.7"}}, "apt-get install -- jq=1.7"},
		{"older", []apt.Spec{{Name: "jq", Version: "1.6-1"}}, "apt-get install --allow-downgrades -- jq=1.6-1"},
		{"provided by another", []apt.Spec{{Name: "runc"}}, ""},
		{"provided, but a version is asked for", []apt.Spec{{Name: "runc", Version: "1.1"}}, "apt-get install -- runc=1.1"},
		{"several at once", []apt.Spec{{Name: "jq"}, {Name: "ufw"}, {Name: "libc6:i386"}}, "apt-get install -- ufw libc6:i386"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var f fake
			if err := apt.At(calm(t)).Install(context.Background(), c.specs, f.run, nil); err != nil {
				t.Fatal(err)
			}
			if got := f.words(0); got != c.want {
				t.Errorf("Install(%v) ran %q, want %q", c.specs, got, c.want)
			}
		})
	}
}

func TestRemoveLeavesOutWhatIsNotThere(t *testing.T) {
	for _, c := range []struct {
		names []string
		purge bool
		want  string
	}{
		{[]string{"jq", "ufw"}, false, "apt-get remove -- jq"},
		{[]string{"jq", "left"}, true, "apt-get purge -- jq left"},
		{[]string{"left"}, false, ""},
		{[]string{"runc"}, true, ""},
	} {
		var f fake
		if err := apt.At(calm(t)).Remove(context.Background(), c.names, c.purge, f.run, nil); err != nil {
			t.Fatal(err)
		}
		if got := f.words(0); got != c.want {
			t.Errorf("Remove(%v, %v) ran %q, want %q", c.names, c.purge, got, c.want)
		}
	}
}

func TestCommandsNeverAskQuestions(t *testing.T) {
	var f fake
	if err := apt.At(calm(t)).Install(context.Background(), []apt.Spec{{Name: "ufw"}}, f.run, nil); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_MODE=l"} {
		if !strings.Contains(strings.Join(f.env[0], "\n"), want) {
			t.Errorf("environment %q, want %s in it", f.env[0], want)
		}
	}
	for _, want := range []string{"-y", "Dpkg::Options::=--force-confold", "DPkg::Lock::Timeout=600"} {
		if !strings.Contains(strings.Join(f.argv[0], "\n"), want) {
			t.Errorf("command %q, want %s in it", f.argv[0], want)
		}
	}
}

func TestNamesThatAptWouldReadOtherwiseAreRefused(t *testing.T) {
	for _, s := range []apt.Spec{
		{Name: ""}, {Name: "-y"}, {Name: "jq-"}, {Name: "jq=1"}, {Name: "jq/sid"}, {Name: "./x.deb"}, {Name: "j*"},
		{Name: "?all"}, {Name: "JQ"}, {Name: "a b"}, {Name: "jq", Version: "1 2"}, {Name: "jq", Version: "1;x"},
	} {
		var f fake
		sys := apt.At(calm(t))
		if err := sys.Install(context.Background(), []apt.Spec{s}, f.run, nil); err == nil || len(f.argv) > 0 {
			t.Errorf("Install(%+v) = %v and ran %q, want an error and nothing run", s, err, f.argv)
		}
		if s.Version != "" {
			continue
		}
		if err := sys.Remove(context.Background(), []string{s.Name}, false, f.run, nil); err == nil {
			t.Errorf("Remove(%q) is no error, want one", s.Name)
		}
	}
}

func TestErrorsSayWhatAptSaid(t *testing.T) {
	for _, c := range []struct{ name, out, want string }{
		{
			"no such package",
			"Reading package lists...\nE: Unable to locate package ufw\nE: Unable to locate package ufw\n",
			"cannot install ufw: Unable to locate package ufw",
		},
		{
			"a script broke",
			"Setting up ufw (1) ...\nno kernel module\ndpkg: error processing package ufw (--configure):\nE: Sub-process /usr/bin/dpkg returned an error code (1)",
			"cannot install ufw: Setting up ufw (1) ...\nno kernel module\ndpkg: error processing package ufw (--configure):\nE: Sub-process /usr/bin/dpkg returned an error code (1)",
		},
		{"nothing", "", "cannot install ufw: apt-get exited with status 100"},
	} {
		f := fake{replies: []reply{{status: 100, out: c.out}}}
		err := apt.At(calm(t)).Install(context.Background(), []apt.Spec{{Name: "ufw"}}, f.run, nil)
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
	broken := errors.New("no apt-get here")
	f := fake{replies: []reply{{err: broken}}}
	if err := apt.At(calm(t)).Install(context.Background(), []apt.Spec{{Name: "ufw"}}, f.run, nil); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
}

func TestInterruptedRunIsFinishedFirst(t *testing.T) {
	root := calm(t)
	write(t, filepath.Join(root, "var/lib/dpkg/updates/0001"), "Package: jq\nStatus: install ok unpacked\nArchitecture: amd64\nVersion: 1.7\n")
	f := fake{replies: []reply{{status: 1, out: "dpkg: error: it cannot be configured"}}}
	var p []string
	err := apt.At(root).Remove(context.Background(), []string{"jq"}, true, f.run, func(s string) { p = append(p, s) })
	if err != nil {
		t.Fatal(err)
	}
	if f.words(0) != "dpkg --force-confdef --force-confold --configure -a" || f.words(1) != "apt-get purge -- jq" {
		t.Errorf("ran %q, want dpkg --configure -a and then apt-get purge", f.argv)
	}
	if got := strings.Join(p, "\n"); !strings.Contains(got, "interrupted") || !strings.Contains(got, "it cannot be configured") {
		t.Errorf("told %q, want both that it was interrupted and that it could not be finished", got)
	}
}

func TestWorkThatBeganIsNotCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	var p []string
	told := make(chan struct{})
	f := fake{during: func(inner context.Context) {
		cancel()
		<-told
		if inner.Err() != nil {
			t.Errorf("the context of the command: %v, want none", inner.Err())
		}
	}}
	sys := apt.At(calm(t))
	err := sys.Install(ctx, []apt.Spec{{Name: "ufw"}}, f.run, func(s string) {
		p = append(p, s)
		close(told)
	})
	if err != nil || len(p) != 1 || !strings.Contains(p[0], "finished first") {
		t.Errorf("got %v and told %q, want no error and that it is finished first", err, p)
	}
	f.during = nil
	if err := sys.Install(ctx, []apt.Spec{{Name: "ufw"}}, f.run, nil); !errors.Is(err, context.Canceled) || len(f.argv) != 1 {
		t.Errorf("after the cancel got %v and %d commands, want %v and none more", err, len(f.argv), context.Canceled)
	}
}

func TestLostRaceForTheListsIsRunAgain(t *testing.T) {
	f := fake{replies: []reply{{status: 100, out: "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 7 (apt-get)"}}}
	if err := apt.At(calm(t)).Refresh(context.Background(), f.run, nil); err != nil || len(f.argv) != 2 {
		t.Errorf("got %v after %d commands, want success with the second", err, len(f.argv))
	}
}

func TestFailedRefreshDoesNotCount(t *testing.T) {
	root := calm(t)
	lists := filepath.Join(root, "var/lib/apt/lists")
	old := time.Now().Add(-time.Hour).Truncate(time.Second)
	if err := os.Chtimes(lists, old, old); err != nil {
		t.Fatal(err)
	}
	sys := apt.At(root)
	f := fake{replies: []reply{{status: 100, out: "E: Failed to fetch http://gone/"}}, during: func(context.Context) {
		write(t, filepath.Join(lists, "other_InRelease"), "") // as apt touches the folder
	}}
	if err := sys.Refresh(context.Background(), f.run, nil); err == nil || !strings.Contains(err.Error(), "http://gone/") {
		t.Errorf("got %v, want an error that names the source", err)
	}
	if got, err := sys.ListsRefreshed(); err != nil || !got.Equal(old) {
		t.Errorf("ListsRefreshed() = %v, %v; want %v as before", got, err, old)
	}
	if err := sys.Refresh(context.Background(), f.run, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := sys.ListsRefreshed(); err != nil || time.Since(got) > time.Minute {
		t.Errorf("ListsRefreshed() = %v, %v; want now", got, err)
	}
}

// TestMain lets this program be the process that holds a lock.
func TestMain(m *testing.M) {
	if path := os.Getenv("HOLDFAST_TEST_HOLD"); path != "" {
		hold(path)
	}
	os.Exit(m.Run())
}

func hold(path string) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err == nil {
		err = syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_WRLCK})
	}
	fmt.Println("holding", err)
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // until the parent is done
	os.Exit(0)
}

func TestHolderOfTheLockIsNamed(t *testing.T) {
	root := calm(t)
	path := filepath.Join(root, "var/lib/dpkg/lock-frontend")
	sys := apt.At(root)
	write(t, path, "")
	if busy, err := sys.Busy(); err != nil || busy != nil {
		t.Fatalf("Busy() = %v, %v; want nobody", busy, err)
	}
	holder := exec.Command(os.Args[0])
	holder.Env = append(os.Environ(), "HOLDFAST_TEST_HOLD="+path)
	in, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "holding <nil>\n" {
		t.Fatalf("the holder says %q, %v", line, err)
	}
	want := fmt.Sprintf("apt.test (process %d", holder.Process.Pid)
	busy, err := sys.Busy()
	if err != nil || busy == nil || busy.Path != path || !strings.HasPrefix(busy.Error(), want) {
		t.Errorf("Busy() = %v, %v; want %s", busy, err, want)
	}
	short, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	var f fake
	var locked *apt.Locked
	if err := sys.Install(short, []apt.Spec{{Name: "ufw"}}, f.run, nil); !errors.As(err, &locked) || !errors.Is(err, context.DeadlineExceeded) || len(f.argv) > 0 {
		t.Errorf("got %v and ran %q, want an error that names the holder and nothing run", err, f.argv)
	}
	var p []string
	err = sys.Install(context.Background(), []apt.Spec{{Name: "ufw"}}, f.run, func(s string) {
		p = append(p, s)
		_ = in.Close() // lets the holder go
	})
	if err != nil || len(p) == 0 || !strings.HasPrefix(p[0], "waiting: "+want) || len(f.argv) != 1 {
		t.Errorf("got %v, told %q, ran %q; want a wait for %s and then the install", err, p, f.argv, want)
	}
	if err := holder.Wait(); err != nil {
		t.Error(err)
	}
}

func TestSimulateReadsEveryKindOfStep(t *testing.T) {
	f := fake{replies: []reply{{out: `NOTE: This is only a simulation!
Inst libjq1 [1.6-2] (1.7-1 Debian:12.9/stable [amd64]) []
Inst ufw (0.36 Debian:12.9/stable [all])
Inst old [2.0] (1.0 Debian:12.9/stable [all])
Remv jq [1.6-2] []
Purg left [1]
Conf ufw (0.36 Debian:12.9/stable [all])
`}}}
	got, err := apt.At(calm(t)).Simulate(context.Background(), []apt.Spec{{Name: "ufw"}}, f.run)
	want := []apt.Action{
		{Name: "jq", Kind: "remove", From: "1.6-2"}, {Name: "left", Kind: "purge", From: "1"},
		{Name: "libjq1", Kind: "upgrade", From: "1.6-2", To: "1.7-1"}, {Name: "old", Kind: "downgrade", From: "2.0", To: "1.0"},
		{Name: "ufw", Kind: "install", To: "0.36"},
	}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("Simulate = %v, %v; want %v", got, err, want)
	}
	if f.words(0) != "apt-get --simulate install -- ufw" {
		t.Errorf("ran %q", f.words(0))
	}
}

func TestLookupReadsPolicy(t *testing.T) {
	f := fake{replies: []reply{{out: `jq:
  Installed: 1.6-2
  Candidate: 1.7-1
  Version table:
     1.7-1 500
        500 http://deb.debian.org/debian bookworm/main amd64 Packages
        500 http://deb.debian.org/debian bookworm-updates/main amd64 Packages
 *** 1.6-2 100
        100 /var/lib/dpkg/status
     1.6-1 500
        500 http://deb.debian.org/debian bookworm/main amd64 Packages
mail-transport-agent:
  Installed: (none)
  Candidate: (none)
  Version table:
`}}}
	got, err := apt.At(calm(t)).Lookup(context.Background(), []string{"jq", "mail-transport-agent", "nothing"}, f.run)
	want := apt.Policy{Installed: "1.6-2", Candidate: "1.7-1", Versions: []string{"1.7-1", "1.6-1"}}
	if err != nil || fmt.Sprint(got["jq"]) != fmt.Sprint(want) {
		t.Errorf("Lookup(jq) = %+v, %v; want %+v", got["jq"], err, want)
	}
	if p := got["mail-transport-agent"]; p.Candidate != "" || p.Installed != "" || len(p.Versions) > 0 {
		t.Errorf("Lookup of a virtual name = %+v, want nothing to install", p)
	}
	if _, ok := got["nothing"]; ok {
		t.Errorf("Lookup knows a name that apt does not: %v", got)
	}
}
