package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// hostState is what is written down about a host before anything of it exists.
type hostState struct {
	Name    string   `json:"name"`
	Suite   string   `json:"suite"`
	Base    string   `json:"base"`             // the lowest layer of its root
	Layers  []string `json:"layers,omitempty"` // saved layers over the base, topmost first
	Index   int      `json:"index"`            // the last number of its address
	Network int      `json:"network"`          // the third number of its address
	// Ready is false while the host is being made for the first time.
	Ready bool `json:"ready"`
}

func (h hostState) address() string { return fmt.Sprintf("10.213.%d.%d", h.Network, h.Index) }

func (s *Sandbox) hostFile(name string) string { return filepath.Join(s.hostDir(name), "host.json") }

func (s *Sandbox) readHost(name string) (hostState, error) {
	var h hostState
	err := readJSON(s.hostFile(name), &h)
	if errors.Is(err, fs.ErrNotExist) {
		return h, fmt.Errorf("there is no such host in %s", s.dir)
	}
	if err != nil {
		return h, needRoot(err)
	}
	if h.Name != name || h.Index < 2 || h.Index > 254 || h.Network < 0 || h.Network > 255 {
		return h, fmt.Errorf("%s is not the state of a host", s.hostFile(name))
	}
	return h, nil
}

func (s *Sandbox) writeHost(h hostState) error {
	if err := os.MkdirAll(s.hostDir(h.Name), 0o700); err != nil {
		return err
	}
	return writeJSON(s.hostFile(h.Name), h)
}

// readHosts returns every host with a readable state, by number, and the names
// of folders without one.
func (s *Sandbox) readHosts() (hosts []hostState, broken []string, err error) {
	entries, err := os.ReadDir(s.hostsDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, needRoot(err)
	}
	for _, entry := range entries {
		if !plainName.MatchString(entry.Name()) {
			continue
		}
		h, err := s.readHost(entry.Name())
		if err != nil {
			broken = append(broken, entry.Name())
			continue
		}
		hosts = append(hosts, h)
	}
	slices.SortFunc(hosts, func(a, b hostState) int { return a.Index - b.Index })
	return hosts, broken, nil
}

// freeIndex returns the lowest number in 2…254 that no host has.
func freeIndex(hosts []hostState) (int, error) {
	for index := 2; index <= 254; index++ {
		if !slices.ContainsFunc(hosts, func(h hostState) bool { return h.Index == index }) {
			return index, nil
		}
	}
	return 0, errors.New("cannot make another host: all 253 addresses are taken")
}

// needRoot says it plainly when an ordinary account is not let into the folder.
func needRoot(err error) error {
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		return noRoot()
	}
	return err
}

func readJSON(path string, into any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("cannot read %s: %w", path, err)
	}
	return nil
}

func writeJSON(path string, value any) error {
	text, err := json.MarshalIndent(value, "", "\t")
	if err != nil {
		return err
	}
	return writeFile(path, append(text, '\n'), 0o600)
}

// writeFile replaces a file in one step, so that a reader or a crash never sees
// half of it.
func writeFile(path string, text []byte, mode fs.FileMode) error {
	temp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temp.Name()) }()
	_, err = temp.Write(text)
	if err == nil {
		err = temp.Chmod(mode)
	}
	if closeErr := temp.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}

// lock takes an exclusive lock on a file, also against other processes, and
// returns how to give it back. The lock of a killed process is free at once.
func lock(ctx context.Context, path string, waiting func()) (func(), error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, needRoot(err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, needRoot(err)
	}
	for told := false; ; {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			_ = file.Close()
			return nil, fmt.Errorf("cannot lock %s: %w", path, err)
		}
		if !told && waiting != nil {
			waiting()
			told = true
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			_ = file.Close()
			return nil, fmt.Errorf("cannot lock %s: %w", path, err)
		}
	}
}

// hold takes the lock of the folder.
func (s *Sandbox) hold(ctx context.Context) (func(), error) {
	return lock(ctx, filepath.Join(s.dir, "lock"), func() {
		s.say("waiting for another process that works on %s", s.dir)
	})
}
