package sandbox

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// hierarchy is a mounted tree of cgroups.
type hierarchy struct {
	path   string
	cpuset bool // of version 1, where a new group can hold no process at first
	v2     bool
}

// hierarchies lists the trees of cgroups of this machine.
func hierarchies() ([]hierarchy, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return parseHierarchies(string(text)), nil
}

func parseHierarchies(mountinfo string) []hierarchy {
	var list []hierarchy
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(line, " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 6 || len(kind) < 3 || !strings.HasPrefix(kind[0], "cgroup") {
			continue
		}
		if slices.Contains(strings.Split(fields[5], ","), "ro") {
			continue
		}
		list = append(list, hierarchy{
			path:   fields[4],
			cpuset: kind[0] == "cgroup" && slices.Contains(strings.Split(kind[2], ","), "cpuset"),
			v2:     kind[0] == "cgroup2",
		})
	}
	return list
}

// layoutOf says what hosts see of the machine's cgroups: "unified", the new
// layout, as it is mounted; "hybrid", the new layout, which has to be mounted for
// them; "legacy", the old one, where there is nothing else.
func layoutOf(list []hierarchy) string {
	isV2 := func(h hierarchy) bool { return h.v2 }
	switch {
	case !slices.ContainsFunc(list, isV2):
		return "legacy"
	case len(list) == 1:
		return "unified"
	}
	return "hybrid"
}

// makeCgroups gives a host a group of its own in every tree: hosts that share a
// group would share their units.
func (s *Sandbox) makeCgroups(name string) ([]string, error) {
	list, err := hierarchies()
	if err != nil {
		return nil, err
	}
	var made []string
	for _, h := range list {
		shared := filepath.Join(h.path, s.cgroup())
		own := filepath.Join(shared, name)
		if err := os.MkdirAll(shared, 0o755); err != nil {
			return nil, err
		}
		if err := prepareCgroup(h, shared); err != nil {
			return nil, err
		}
		for _, dir := range []string{own, filepath.Join(own, "watch"), filepath.Join(own, "boot")} {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return nil, err
			}
		}
		made = append(made, own)
	}
	return made, nil
}

// prepareCgroup makes groups below dir usable.
func prepareCgroup(h hierarchy, dir string) error {
	if h.v2 {
		// Limits inside of a host need the controllers handed down. A machine that
		// does not hand them to us has hosts without limits.
		for _, controller := range []string{"+cpu", "+memory", "+pids", "+io"} {
			_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte(controller), 0o644)
		}
		return nil
	}
	if !h.cpuset {
		return nil
	}
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, file), value, 0o644); err != nil {
			return fmt.Errorf("cannot prepare cgroup %s: %w", dir, err)
		}
	}
	return os.WriteFile(filepath.Join(dir, "cgroup.clone_children"), []byte("1"), 0o644)
}

// hostCgroups lists the groups of a host that exist.
func (s *Sandbox) hostCgroups(name string) []string {
	list, _ := hierarchies()
	var found []string
	for _, h := range list {
		dir := filepath.Join(h.path, s.cgroup(), name)
		if _, err := os.Stat(dir); err == nil {
			found = append(found, dir)
		}
	}
	return found
}

// cgroupNames lists the hosts of which there are groups.
func (s *Sandbox) cgroupNames() []string {
	list, _ := hierarchies()
	var names []string
	for _, h := range list {
		entries, _ := os.ReadDir(filepath.Join(h.path, s.cgroup()))
		for _, entry := range entries {
			if entry.IsDir() && plainName.MatchString(entry.Name()) {
				names = append(names, entry.Name())
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// cgroupProcesses lists the processes in a group and below.
func cgroupProcesses(dir string) []int {
	var pids []int
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return nil
		}
		text, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		for _, word := range bytes.Fields(text) {
			if pid, err := strconv.Atoi(string(word)); err == nil {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids
}

// removeCgroup removes a group and all below it, deepest first.
func removeCgroup(dir string) error {
	var dirs []string
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	slices.Reverse(dirs)
	for _, path := range dirs {
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}

// removeSharedCgroups removes what all hosts of the sandbox stood in.
func (s *Sandbox) removeSharedCgroups() error {
	list, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range list {
		if err := removeCgroup(filepath.Join(h.path, s.cgroup())); err != nil {
			return err
		}
	}
	return nil
}
