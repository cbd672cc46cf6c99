//go:build ignore

// This program builds cmd/holdfast-helper for every platform and leaves it gzipped,
// with a manifest, where helperbin embeds it, or in the folder that it is given. It does nothing for a helper whose
// sources did not change, because the build is reproducible and cached by Go.
package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

func main() {
	into := "bin"
	if len(os.Args) > 1 {
		into = os.Args[1]
	}
	for _, arch := range []string{"amd64", "arm64"} {
		for _, kind := range []kind{{suffix: ""}, {suffix: "-tls", tls: true}} {
			if err := build(arch, kind, into); err != nil {
				fmt.Fprintln(os.Stderr, "cannot build the helper:", err)
				os.Exit(1)
			}
		}
	}
}

// noInlining keeps the helper within its budget: inlined copies and the tables
// about them are 0.6 MB of it, 0.4 MB gzipped. What only computes takes half as long again,
// which is little beside what the helper waits for.
const noInlining = "-gcflags=all=-l"

// kind is a helper with or without TLS, which is a fifth of it and which few plays need.
type kind struct {
	suffix string
	tls    bool
}

// tags are those of its build; helper leaves out the modules that work on the controller
// alone.
func (k kind) tags() string {
	if k.tls {
		return "-tags=helper"
	}
	return "-tags=helper,notls"
}

func build(arch string, k kind, into string) error {
	dir, err := os.MkdirTemp("", "holdfast-helper")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "holdfast-helper")
	without, err := withoutDocuments(dir)
	if err != nil {
		return err
	}
	cmd := exec.Command("go", "build", "-overlay", without, "-trimpath", "-buildvcs=false", k.tags(), noInlining, "-ldflags=-s -w -buildid=", "-o", out, "holdfast/cmd/holdfast-helper")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOFLAGS=")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return err
	}
	data, err := os.ReadFile(out)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	manifest, err := json.Marshal(map[string]any{"platform": "linux/" + arch, "hash": hex.EncodeToString(sum[:]), "size": len(data), "tls": k.tls})
	if err != nil {
		return err
	}
	name := filepath.Join(into, "linux-"+arch+k.suffix)
	_, missing := os.Stat(name + ".gz")
	if old, err := os.ReadFile(name + ".json"); err == nil && missing == nil && bytes.Equal(old, append(manifest, '\n')) {
		return nil
	}
	packed, err := compress(data)
	if err != nil {
		return err
	}
	if err := os.WriteFile(name+".gz", packed, 0o644); err != nil {
		return err
	}
	fmt.Printf("%s: %d bytes, %d gzipped\n", name, len(data), len(packed))
	return os.WriteFile(name+".json", append(manifest, '\n'), 0o644)
}

// withoutDocuments writes what tells the compiler to take a line for the document of each
// module: nobody reads them on hosts, and they were 78 kB of the helper, 29 kB gzipped.
func withoutDocuments(dir string) (overlay string, err error) {
	docs, err := filepath.Glob(filepath.Join("..", "..", "tasks", "*", "doc.md"))
	if err != nil || len(docs) == 0 {
		return "", fmt.Errorf("no documents of modules are where they should be: %w", err)
	}
	line := filepath.Join(dir, "doc.md")
	replace := map[string]string{}
	for _, name := range docs {
		if name, err = filepath.Abs(name); err != nil {
			return "", err
		}
		replace[name] = line
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(dir, "overlay.json")
	return overlay, errors.Join(os.WriteFile(line, []byte("# Its document is in the program.\n"), 0o600), os.WriteFile(overlay, text, 0o600))
}

// compress packs as tightly as this machine can: the gzip program finds 2 % more than
// Go's, and the helper crosses the network once for each host.
func compress(data []byte) ([]byte, error) {
	cmd := exec.Command("gzip", "-9", "-n", "-c")
	cmd.Stdin = bytes.NewReader(data)
	if out, err := cmd.Output(); err == nil {
		return out, nil
	}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
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
