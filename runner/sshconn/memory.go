package sshconn

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// Rung is one step of a ladder.
type Rung struct {
	User string `json:"user"`
	Port int    `json:"port"`
}

// Memory keeps, in a file, the rung that worked last for each host. It is a
// cache: a file that cannot be read counts as empty. Several goroutines and
// several processes may use one file.
type Memory struct {
	path string

	mu    sync.Mutex
	rungs map[string]Rung
	err   error
}

// DefaultMemoryPath is the file in the user's state directory.
func DefaultMemoryPath() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "holdfast", "rungs.json"), nil
	}
	dir, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("cannot find the state directory: %w", err)
	}
	return filepath.Join(dir, ".local", "state", "holdfast", "rungs.json"), nil
}

// OpenMemory reads the file at path, which need not exist.
func OpenMemory(path string) *Memory {
	return &Memory{path: path, rungs: readRungs(path)}
}

func readRungs(path string) map[string]Rung {
	rungs := map[string]Rung{}
	text, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(text, &rungs) != nil || rungs == nil {
		return map[string]Rung{}
	}
	return rungs
}

// Last returns the rung that worked last for a host.
func (m *Memory) Last(name string) (Rung, bool) {
	if m == nil {
		return Rung{}, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.rungs[name]
	return r, ok
}

// Remember keeps the rung that worked for a host. That it could not be written
// is no reason for a run to fail; Err tells.
func (m *Memory) Remember(name string, r Rung) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.rungs[name] == r {
		return
	}
	m.rungs[name] = r
	if err := m.write(name, r); err != nil {
		m.err = err
	}
}

// Err returns the last error of writing the file.
func (m *Memory) Err() error {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

// write adds one rung to what the file holds now, which other processes may have
// changed.
func (m *Memory) write(name string, r Rung) error {
	dir := filepath.Dir(m.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot remember how %s was reached: %w", name, err)
	}
	unlock, err := lockFolder(m.path)
	if err != nil {
		return fmt.Errorf("cannot remember how %s was reached: %w", name, err)
	}
	defer unlock()
	rungs := readRungs(m.path)
	rungs[name] = r
	text, err := json.MarshalIndent(rungs, "", "  ")
	if err == nil {
		err = replaceFile(m.path, append(text, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot remember how %s was reached: %w", name, err)
	}
	return nil
}
