package helperbin_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/runner/helperbin"
)

// The helper goes to every host, so it has a budget. The one with TLS goes where a
// playbook fetches something.
var budgets = map[string]struct{ size, gzipped int64 }{
	"":     {8_000_000, 3_000_000},
	"-tls": {10_000_000, 3_800_000},
}

// TestSize builds the helpers as go generate does.
func TestSize(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("go", "run", "gen.go", dir).CombinedOutput(); err != nil {
		t.Fatalf("go run gen.go: %v\n%s", err, out)
	}
	for _, platform := range []string{"linux-amd64", "linux-arm64", "linux-amd64-tls", "linux-arm64-tls"} {
		_, kind, _ := strings.Cut(platform, "64")
		budget := budgets[kind]
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
		if m.Size > budget.size || gz.Size() > budget.gzipped {
			t.Errorf("%s: got %d bytes, %d gzipped, want at most %d and %d", platform, m.Size, gz.Size(), budget.size, budget.gzipped)
		}
		if m.TLS != (kind == "-tls") {
			t.Errorf("%s: its manifest says %t of TLS", platform, m.TLS)
		}
		t.Logf("%s: %d bytes, %d gzipped", platform, m.Size, gz.Size())
	}
}
