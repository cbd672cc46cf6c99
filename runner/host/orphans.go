package host

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Note makes the machine keep a file in a folder for each command while it runs, so that
// [Machine.Reap] finds what a process that was killed left running. Only who holds the
// host's lock may have one, because whoever has it next ends what is noted.
func (m *Machine) Note(dir string) { m.running = dir }

func (m *Machine) note(p *process) {
	if m.running == "" || os.MkdirAll(m.running, 0o700) != nil {
		return
	}
	p.note = filepath.Join(m.running, p.tag)
	if os.WriteFile(p.note, []byte(p.cgroup), 0o600) != nil {
		p.note = "" // without room for it the command runs all the same
	}
}

// Reap ends the commands that are noted in a folder, with all that came from them, and
// returns how many were still running. The process that started them is gone: it would
// have taken its notes away.
func Reap(dir string) (ended int, err error) {
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		group, err := os.ReadFile(name)
		if err != nil {
			return ended, err
		}
		p := &process{tag: filepath.Base(name), note: name}
		if base := filepath.Base(string(group)); base == "holdfast-"+p.tag && strings.HasPrefix(string(group), "/sys/fs/cgroup/") {
			p.cgroup = string(group)
		}
		if len(p.members()) > 0 {
			ended++
			p.end()
		}
		p.leave()
	}
	return ended, nil
}

// end asks the processes to end, and kills those that do not.
func (p *process) end() {
	for began, sig := time.Now(), syscall.SIGTERM; len(p.members()) > 0 && time.Since(began) < 2*grace; time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > grace {
			sig = syscall.SIGKILL
		}
		p.signal(sig)
	}
}
