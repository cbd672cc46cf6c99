package helperbin_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"holdfast/runner/helperbin"
	"holdfast/runner/remote"
)

// whole fails the test unless what would be sent is what the hash promises.
func whole(t *testing.T, b remote.Binary) {
	t.Helper()
	packed, err := b.Gzip()
	if err != nil {
		t.Fatalf("%s: %v", b.Platform, err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatalf("%s: %v", b.Platform, err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatalf("%s: %v", b.Platform, err)
	}
	sum := sha256.Sum256(data)
	if got := hex.EncodeToString(sum[:]); got != b.Hash || int64(len(data)) != b.Size {
		t.Errorf("%s: got %d bytes with the hash %s, want %d with %s", b.Platform, len(data), got, b.Size, b.Hash)
	}
	again, err := b.Gzip()
	if err != nil || &again[0] != &packed[0] {
		t.Errorf("%s: each host gets a copy of its own: %v", b.Platform, err)
	}
}

// Generated or not, a build has a helper for its own platform.
func TestAll(t *testing.T) {
	for _, tls := range []bool{false, true} {
		t.Run(fmt.Sprint(tls), func(t *testing.T) { testAll(t, tls) })
	}
}

func testAll(t *testing.T, tls bool) {
	all, err := helperbin.All(tls)
	if err != nil {
		t.Fatal(err)
	}
	mine := false
	for _, b := range all {
		whole(t, b)
		mine = mine || b.Platform == runtime.GOOS+"/"+runtime.GOARCH
		// These go into a line for a shell.
		if strings.ContainsAny(b.Name+b.Hash, " '\"$`\n") || strings.ContainsAny(b.Args, "'\"$`\n") {
			t.Errorf("%s: got the name %q and the arguments %q", b.Platform, b.Name, b.Args)
		}
	}
	if !mine && (runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64") {
		t.Errorf("got %d helpers and none for this platform", len(all))
	}
}

func TestOwn(t *testing.T) {
	b, err := helperbin.Own()
	if err != nil {
		t.Fatal(err)
	}
	whole(t, b)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if b.Name != filepath.Base(self) || b.Args != "helper serve" || b.Platform != runtime.GOOS+"/"+runtime.GOARCH {
		t.Errorf("got %+v", b)
	}
}
