package host_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"holdfast/runner/host"
	"holdfast/tasks/task"
)

// Whoever replaces or removes a private file need not say that it is a secret: what
// was in it is not on the disk in clear afterwards, and the undo brings it back.
func TestPrivateFilesAreKeptEncrypted(t *testing.T) {
	b := newBench(t)
	for name, mode := range map[string]os.FileMode{"replaced": 0o600, "removed": 0o640, "public": 0o644} {
		b.must(os.WriteFile(b.path(name), []byte("c4n4ry of "+name), mode))
	}
	before := b.state()
	w := b.writer()
	b.must(w.WriteFile(ctx, task.FileWrite{Path: b.path("replaced"), Data: []byte("new")}))
	b.must(w.Remove(ctx, b.path("removed")))
	b.must(w.Remove(ctx, b.path("public")))
	clear := 0
	b.must(filepath.WalkDir(b.store.Dir(), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		switch {
		case bytes.Contains(data, []byte("c4n4ry of public")):
			clear++
		case bytes.Contains(data, []byte("c4n4ry")):
			t.Errorf("%s holds it in clear", path)
		}
		return err
	}))
	if clear != 1 {
		t.Errorf("the public file is there %d times: this test looks in the wrong place", clear)
	}
	b.undo(host.UndoOptions{})
	if after := b.state(); after != before {
		t.Errorf("after the undo:\n%s\nwant\n%s", after, before)
	}
}
