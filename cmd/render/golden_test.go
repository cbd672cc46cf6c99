package render_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"holdfast/cmd/render"
)

var update = flag.Bool("update", false, "write the golden files")

var escapes = regexp.MustCompile("\x1b\\[[0-9;]*m")

// variants are the options that each stream is shown with.
var variants = map[string]render.Options{
	"":         {},
	".verbose": {Verbose: true},
	".diff":    {Diff: true},
}

func TestGolden(t *testing.T) {
	streams, err := filepath.Glob("testdata/*.jsonl")
	if err != nil || len(streams) == 0 {
		t.Fatalf("got %v, %v, want streams", streams, err)
	}
	for _, stream := range streams {
		for suffix, opts := range variants {
			golden := strings.TrimSuffix(stream, ".jsonl") + suffix + ".txt"
			t.Run(filepath.Base(golden), func(t *testing.T) { compare(t, golden, replay(t, stream, opts)) })
		}
	}
}

// TestColorIsOnlyColor compares every stream with and without colour.
func TestColorIsOnlyColor(t *testing.T) {
	streams, err := filepath.Glob("testdata/*.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for _, stream := range streams {
		opts := render.Options{Diff: true, Verbose: true}
		want := replay(t, stream, opts)
		opts.Color = true
		got := replay(t, stream, opts)
		if got == want {
			t.Errorf("%s: got no colour", stream)
		}
		if got = escapes.ReplaceAllString(got, ""); got != want {
			t.Errorf("%s: got %s\nwant %s", stream, got, want)
		}
	}
}

// replay returns what a stream is shown as, with the error at its end.
func replay(t *testing.T, stream string, opts render.Options) string {
	t.Helper()
	f, err := os.Open(stream)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // only read
	var out, errs bytes.Buffer
	opts.Out, opts.Err = &out, &errs
	if err := render.Replay(f, opts); err != nil {
		out.WriteString("error: " + err.Error() + "\n")
	}
	if errs.Len() > 0 {
		out.WriteString("stderr:\n" + errs.String())
	}
	return out.String()
}

func compare(t *testing.T, golden, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil { //nolint:gosec // a test's file
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", golden, got, want)
	}
}
