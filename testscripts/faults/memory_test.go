//go:build hosts

package faults_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestMemoryPressure: the kernel kills the helper in the middle of a task. The guard
// takes the change back as it does for every other death.
func TestMemoryPressure(t *testing.T) {
	l := enter(t)
	l.console("printf 'stays\\n' >/etc/attack-before")
	before := l.state()
	l.console("rm /etc/attack-before")
	u := l.start(l.play(reach{}, attack(nowhere, slow))...)
	u.begun("slow")
	time.Sleep(500 * time.Millisecond)
	squeezed := l.squeeze(l.helpers())
	o := u.wait(90*time.Second).want(l, 7)
	if got := o.guard(); !strings.HasSuffix(got, "undone") {
		t.Errorf("got the guard told as %q, want its verdict\n%s", got, o.told())
	}
	l.awaitVerdict("undone", 2*within+10*time.Second)
	if squeezed() == 0 {
		t.Error("the kernel killed nothing for want of memory")
	}
	l.wantClean()
	l.wantState(before)
	l.wantNext(reach{})
}

// helpers returns the helpers of the host that serve, by the numbers that they have on
// this machine.
func (l *lab) helpers() (pids []string) {
	l.Helper()
	network := l.console("readlink /proc/self/ns/net")
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		l.Fatal(err)
	}
	for _, file := range all {
		argv, _ := os.ReadFile(file) // it may have ended
		where, _ := os.Readlink(filepath.Join(filepath.Dir(file), "ns/net"))
		if where == network && strings.Contains(string(argv), "holdfast-helper\x00serve") {
			pids = append(pids, filepath.Base(filepath.Dir(file)))
		}
	}
	if len(pids) == 0 {
		l.Fatalf("%s: no helper serves", l.host)
	}
	return pids
}

// squeeze leaves processes no memory to grow, by either form of control groups. What it
// returns says how many were killed for it.
func (l *lab) squeeze(pids []string) (killed func() int) {
	l.Helper()
	group, limit, events := "/sys/fs/cgroup/holdfast-faults", "memory.max", "memory.events"
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err == nil {
		group, limit, events = "/sys/fs/cgroup/memory/holdfast-faults", "memory.limit_in_bytes", "memory.oom_control"
	}
	must := func(err error) {
		l.Helper()
		if err != nil {
			l.Fatal(err)
		}
	}
	must(os.Mkdir(group, 0o755))
	l.Cleanup(func() {
		for range 50 { // a group goes when the last of its processes is reaped
			if os.Remove(group) == nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		l.Errorf("%s stays", group)
	})
	must(os.WriteFile(filepath.Join(group, limit), []byte("0"), 0o644))
	for _, pid := range pids {
		must(os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(pid), 0o644))
	}
	return func() (n int) {
		text, err := os.ReadFile(filepath.Join(group, events))
		must(err)
		for line := range strings.Lines(string(text)) {
			if count, ok := strings.CutPrefix(line, "oom_kill "); ok {
				n, err = strconv.Atoi(strings.TrimSpace(count))
				must(err)
			}
		}
		return n
	}
}
