package sandbox

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// leader returns the host's PID 1, zero when it does not run. A number that another
// program has got by now is not taken.
func (s *Sandbox) leader(name string) int {
	text, err := os.ReadFile(filepath.Join(s.hostDir(name), "boot.pid"))
	if err != nil {
		return 0
	}
	nspawn, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || !hasArgument(nspawn, "--directory="+filepath.Join(s.hostDir(name), "root")) {
		return 0
	}
	for _, child := range children(nspawn) {
		if isInit(child) {
			return child
		}
	}
	return 0
}

// watched reports whether the script that keeps a host under power runs.
func (s *Sandbox) watched(name string) bool {
	text, err := os.ReadFile(filepath.Join(s.hostDir(name), "watch.pid"))
	if err != nil {
		return false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	return err == nil && hasArgument(pid, filepath.Join(s.hostDir(name), "host.sh"))
}

// hasArgument reports whether a process lives and was started with the argument.
func hasArgument(pid int, argument string) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return false
	}
	return slices.ContainsFunc(bytes.Split(text, []byte{0}), func(word []byte) bool { return string(word) == argument })
}

// allProcesses lists the processes of the machine.
func allProcesses() []int {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer func() { _ = dir.Close() }()
	names, _ := dir.Readdirnames(-1)
	var list []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			list = append(list, pid)
		}
	}
	slices.Sort(list)
	return list
}

// children lists the direct children of a process. Not every kernel has the
// file that lists them, so all processes are asked for their parent.
func children(parent int) []int {
	var list []int
	for _, pid := range allProcesses() {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil {
			continue
		}
		// The name stands in brackets and may hold anything, brackets too.
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			list = append(list, pid)
		}
	}
	return list
}

// isInit reports whether a process is PID 1 of a namespace below ours.
func isInit(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		if numbers, ok := strings.CutPrefix(line, "NSpid:"); ok {
			fields := strings.Fields(numbers)
			return len(fields) > 1 && fields[len(fields)-1] == "1"
		}
	}
	return false
}

// cutPower kills everything of a host and waits until it is gone.
func (s *Sandbox) cutPower(ctx context.Context, name string) error {
	return poll(ctx, 20*time.Second, "switching off "+name, func() (bool, error) {
		pids := s.remains(name)
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
				return false, err
			}
		}
		return len(pids) == 0, nil
	})
}

// remains lists all processes of a host: those in its cgroups, and those that
// were killed or interrupted before they could enter them.
func (s *Sandbox) remains(name string) []int {
	pids := map[int]bool{}
	for _, dir := range s.hostCgroups(name) {
		for _, pid := range cgroupProcesses(dir) {
			pids[pid] = true
		}
	}
	for _, pid := range allProcesses() {
		if s.ownerOf(pid) == name {
			pids[pid] = true
		}
	}
	var list []int
	for pid := range pids {
		// Root of this machine is in none of a host's cgroups, but a mistake here
		// would be the worst of all.
		if pid > 1 && pid != os.Getpid() {
			list = append(list, pid)
		}
	}
	return list
}

// ownerOf returns the host that a process works for as its command line shows,
// or nothing. Not every process that names a host's folder is ours: somebody may
// be reading its console.
func (s *Sandbox) ownerOf(pid int) string {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return ""
	}
	for word := range bytes.SplitSeq(text, []byte{0}) {
		path := strings.TrimPrefix(string(word), "--directory=")
		rest, ok := strings.CutPrefix(path, s.hostsDir()+"/")
		if !ok {
			continue
		}
		name, part, _ := strings.Cut(rest, "/")
		if plainName.MatchString(name) && slices.Contains([]string{"host.sh", "boot.sh", "root", "identity"}, part) {
			return name
		}
	}
	return ""
}
