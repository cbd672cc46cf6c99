// Package helperbin holds the helpers that a build can push: the small program
// cmd/holdfast-helper for each platform, made by go generate and embedded. A build
// without them pushes itself to targets of its own platform.
package helperbin

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"holdfast/runner/remote"
)

//go:generate go run gen.go

//go:embed bin
var embedded embed.FS

// Manifest describes an embedded helper; the generator writes one for each.
type Manifest struct {
	Platform string `json:"platform"`
	Hash     string `json:"hash"`
	Size     int64  `json:"size"`
	TLS      bool   `json:"tls"`
}

// All returns the helpers of this build, one for each platform: those that speak
// TLS, or the smaller ones that do not. It reads only the manifests; the helpers
// themselves are read when they have to be pushed.
func All(tls bool) (remote.Binaries, error) {
	var out remote.Binaries
	for _, platform := range []string{"linux-amd64", "linux-arm64"} {
		if tls {
			platform += "-tls"
		}
		b, err := embedded.ReadFile("bin/" + platform + ".json")
		if err != nil {
			continue // not generated: a bare clone has none
		}
		var m Manifest
		if err := json.Unmarshal(b, &m); err != nil {
			return nil, fmt.Errorf("internal error: the manifest of %s: %w", platform, err)
		}
		out = append(out, remote.Binary{Platform: m.Platform, Name: "holdfast-helper", Args: "serve", Hash: m.Hash, Size: m.Size,
			// One copy serves all hosts: megabytes each would add up.
			Gzip: sync.OnceValues(func() ([]byte, error) { return embedded.ReadFile("bin/" + platform + ".gz") })})
	}
	if len(out) > 0 {
		return out, nil
	}
	return Self()
}

// Self is the running program as the helper: it has the modules that work on the
// controller alone.
func Self() (remote.Binaries, error) {
	self, err := own()
	if err != nil {
		return nil, err
	}
	return remote.Binaries{self}, nil
}

// own returns the running program as a helper for its own platform.
var own = sync.OnceValues(func() (remote.Binary, error) {
	path, err := os.Executable()
	if err != nil {
		return remote.Binary{}, fmt.Errorf("cannot find this program: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return remote.Binary{}, fmt.Errorf("cannot read this program: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	h := sha256.New()
	size, err := io.Copy(h, f)
	if err != nil {
		return remote.Binary{}, fmt.Errorf("cannot read this program: %w", err)
	}
	// The name is kept because a test binary decides by it what it is.
	return remote.Binary{Platform: runtime.GOOS + "/" + runtime.GOARCH, Name: filepath.Base(path), Args: "helper serve",
		Hash: hex.EncodeToString(h.Sum(nil)), Size: size, Gzip: sync.OnceValues(func() ([]byte, error) { return compress(path) })}, nil
})

func compress(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(data); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
