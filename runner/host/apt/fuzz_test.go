package apt_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/runner/host/apt"
)

func FuzzCompareVersions(f *testing.F) {
	f.Add("1.0~rc1-1", "1:1.0-1+b1")
	f.Add("", "~")
	f.Add("1-", "1:")
	f.Fuzz(func(t *testing.T, a, b string) {
		if x, y := apt.CompareVersions(a, b), apt.CompareVersions(b, a); (x < 0) != (y > 0) || (x == 0) != (y == 0) {
			t.Errorf("CompareVersions(%q, %q) = %d and the other way round %d", a, b, x, y)
		}
		if x := apt.CompareVersions(a, a); x != 0 {
			t.Errorf("CompareVersions(%q, itself) = %d", a, x)
		}
	})
}

func FuzzStatusFile(f *testing.F) {
	seed, err := os.ReadFile(filepath.Join(fixture, "var/lib/dpkg/status"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte(" \n:\nPackage:\n\nPackage: a\nStatus: a b\n c\nProvides: ,(=), b ((\nConffiles:\n x"))
	f.Fuzz(func(t *testing.T, data []byte) {
		root := t.TempDir()
		write(t, filepath.Join(root, "var/lib/dpkg/status"), string(data))
		sys := apt.At(root)
		names, err := sys.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		for name := range names {
			if _, err := sys.Status(name); err != nil {
				t.Error(err)
			}
			if _, err := sys.Conffiles(name); err != nil {
				t.Error(err)
			}
		}
	})
}

func FuzzAnswersOfApt(f *testing.F) {
	f.Add("Inst a [1] (2 x [all])\nRemv\nPurg b [")
	f.Add("a:\n  Installed: 1\n *** 1 500\n        500 http://x y\n  ")
	f.Fuzz(func(t *testing.T, text string) {
		answer := func(_ context.Context, _, _ []string, onLine func(string)) (int, string, error) {
			for line := range strings.Lines(text) {
				onLine(strings.TrimSuffix(line, "\n"))
			}
			return 0, text, nil
		}
		sys := apt.At(fixture)
		if _, err := sys.Simulate(context.Background(), []apt.Spec{{Name: "ufw"}}, answer); err == nil {
			_, err = sys.Lookup(context.Background(), []string{"ufw"}, answer)
			if err != nil {
				t.Error(err)
			}
		}
	})
}
