package sandbox

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// useBase writes down that hosts of this folder may stand on a base. It comes
// before their states, so that no base is taken away under a host.
func (s *Sandbox) useBase(base string) error {
	dir := base + ".users"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, s.id), []byte(s.dir+"\n"), 0o600)
}

// prune removes older bases of a suite on which no host stands any more, in any
// folder. The lock of the suite's bases is held.
func (s *Sandbox) prune(ctx context.Context, current, code string) error {
	paths, err := filepath.Glob(filepath.Join(filepath.Dir(current), code+"-????????"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		if path == current || s.baseInUse(path) {
			continue
		}
		// Renamed first: half a base must not be found under its name.
		gone := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
		if err := os.Rename(path, gone); err != nil {
			return err
		}
		if err := removeTree(ctx, gone); err != nil {
			return err
		}
		if err := os.RemoveAll(path + ".users"); err != nil {
			return err
		}
	}
	return nil
}

// baseInUse reports whether a host stands on a base, in any of the folders that
// have used it, or runs on it.
func (s *Sandbox) baseInUse(path string) bool {
	users, _ := filepath.Glob(path + ".users/*")
	for _, user := range users {
		other := Sandbox{dir: strings.TrimSpace(readText(user))}
		hosts, broken, err := other.readHosts()
		if err != nil || len(broken) > 0 {
			return true
		}
		for _, h := range hosts {
			if h.Base == path {
				return true
			}
		}
	}
	for _, pid := range allProcesses() {
		if strings.Contains(readText("/proc/"+strconv.Itoa(pid)+"/mountinfo"), path) {
			return true
		}
	}
	return false
}
