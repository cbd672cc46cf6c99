package host

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// unified returns the folder of our own control group in the unified hierarchy
// (cgroups(7)), or "". Beside the older hierarchies it is mounted one level deeper.
func unified() string {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	for _, l := range strings.Split(string(b), "\n") {
		own, ok := strings.CutPrefix(l, "0::")
		if !ok || strings.Contains(own, "..") {
			continue
		}
		for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
			var st unix.Statfs_t
			if unix.Statfs(root, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
				return filepath.Join(root, own)
			}
		}
	}
	return ""
}

// enclose makes a control group for the process and returns an open descriptor of
// it, or -1 where that is not possible; then session and marker must do.
func (p *process) enclose() (fd int, release func()) {
	none := func() {}
	own := unified()
	if own == "" || os.Geteuid() != 0 {
		return -1, none
	}
	dir := filepath.Join(own, "holdfast-"+p.tag)
	if os.Mkdir(dir, 0o755) != nil {
		return -1, none
	}
	f, err := os.Open(dir)
	if err != nil {
		_ = os.Remove(dir)
		return -1, none
	}
	p.cgroup = dir
	return int(f.Fd()), func() { _ = f.Close() }
}

// leave removes the control group. It stays while a process that the command left
// in the background on purpose lives in it.
func (p *process) leave() {
	if p.note != "" {
		_ = os.Remove(p.note)
		p.note = ""
	}
	if p.cgroup != "" {
		_ = os.Remove(p.cgroup)
		p.cgroup = ""
	}
}

// stop ends the process and all that came from it: asks first, then kills.
func (p *process) stop() error {
	p.signal(syscall.SIGTERM)
	if p.gone(grace) {
		return nil
	}
	for range 50 {
		if p.cgroup != "" {
			_ = os.WriteFile(filepath.Join(p.cgroup, "cgroup.kill"), []byte("1"), 0)
		}
		p.signal(syscall.SIGKILL)
		if p.gone(100 * time.Millisecond) {
			return nil
		}
	}
	return fmt.Errorf("cannot stop the process %d: it does not even end when killed", p.cmd.Process.Pid)
}

func (p *process) signal(sig syscall.Signal) {
	for _, pid := range p.members() {
		_ = syscall.Kill(pid, sig) // it may have ended by now
	}
}

// gone waits until the process was reaped and nothing is left of its tree.
func (p *process) gone(limit time.Duration) bool {
	end := time.Now().Add(limit)
	for {
		if len(p.members()) == 0 {
			select {
			case err := <-p.done:
				p.done <- err
				return true
			case <-time.After(drain + time.Second):
				return false
			}
		}
		if time.Now().After(end) {
			return false
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// members lists the living processes of the tree: those in the session, in the
// control group, and those that carry the marker.
func (p *process) members() []int {
	inGroup := map[int]bool{}
	if p.cgroup != "" {
		_ = filepath.WalkDir(p.cgroup, func(dir string, d os.DirEntry, err error) error {
			if err == nil && d.Name() == "cgroup.procs" {
				b, _ := os.ReadFile(dir)
				for _, f := range strings.Fields(string(b)) {
					pid, _ := strconv.Atoi(f)
					inGroup[pid] = true
				}
			}
			return nil
		})
	}
	names, _ := os.ReadDir("/proc")
	want := []byte(marker + "=" + p.tag)
	var out []int
	for _, n := range names {
		pid, err := strconv.Atoi(n.Name())
		if err != nil {
			continue
		}
		state, _, session, ok := procStat(pid)
		if !ok || state == "Z" || state == "X" {
			continue
		}
		if p.cmd != nil && session == p.cmd.Process.Pid || inGroup[pid] || marked(pid, want) {
			out = append(out, pid)
		}
	}
	return out
}

func marked(pid int, want []byte) bool {
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return err == nil && (bytes.HasPrefix(env, want) || bytes.Contains(env, append([]byte{0}, want...)))
}

// procStat reads state, parent and session of a process (proc(5)).
func procStat(pid int) (state string, parent, session int, ok bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0, 0, false
	}
	// The name in parentheses may hold anything, so what counts comes after the last one.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 4 {
		return "", 0, 0, false
	}
	parent, err = strconv.Atoi(f[1])
	session, serr := strconv.Atoi(f[3])
	return f[0], parent, session, err == nil && serr == nil
}
