package helperbin_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"holdfast/runner/helperbin"
)

// The helper goes to every host, so it has a budget.
const (
	maxSize    = 8_000_000
	maxGzipped = 3_000_000
)

// TestSize builds the helpers as go generate does.
func TestSize(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("go", "run", "gen.go", dir).CombinedOutput(); err != nil {
		t.Fatalf("go run gen.go: %v\n%s", err, out)
	}
	for _, platform := range []string{"linux-amd64", "linux-arm64"} {
		b, err := os.ReadFile(filepath.Join(dir, platform+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var m helperbin.Manifest
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		gz, err := os.Stat(filepath.Join(dir, platform+".gz"))
		if err != nil {
			t.Fatal(err)
		}
		if m.Size > maxSize || gz.Size() > maxGzipped {
			t.Errorf("%s: got %d bytes, %d gzipped, want at most %d and %d", platform, m.Size, gz.Size(), maxSize, maxGzipped)
		}
		t.Logf("%s: %d bytes, %d gzipped", platform, m.Size, gz.Size())
	}
}
