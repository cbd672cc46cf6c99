package task_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"testing"
	"time"

	"holdfast/tasks/task"
)

func sprint(v any) string { return fmt.Sprintf("%v %+v %#v", v, v, v) }

func TestScalars(t *testing.T) {
	mode := func(s string) (string, error) {
		var m task.Mode
		err := m.UnmarshalText([]byte(s))
		return m.String(), err
	}
	file := func(s string) (string, error) {
		var p task.Path
		err := p.UnmarshalText([]byte(s))
		return string(p), err
	}
	span := func(s string) (string, error) {
		var d task.Duration
		err := d.UnmarshalText([]byte(s))
		return d.Std().String(), err
	}
	tests := []struct {
		kind  string
		read  func(string) (string, error)
		text  string
		want  string
		fault string
	}{
		{"mode", mode, "0644", "0644", ""},
		{"mode", mode, "644", "0644", ""},
		{"mode", mode, "0o644", "0644", ""},
		{"mode", mode, "4755", "4755", ""},
		{"mode", mode, "000", "0000", ""},
		{"mode", mode, "7777", "7777", ""},
		{"mode", mode, "10000", "", `invalid mode "10000"`},
		{"mode", mode, "64", "", `invalid mode "64"`},
		{"mode", mode, "0888", "", `invalid mode "0888"`},
		{"mode", mode, "-644", "", `invalid mode "-644"`},
		{"mode", mode, "0o", "", `invalid mode "0o"`},
		{"mode", mode, "", "", `invalid mode ""`},
		{"mode", mode, "u+x", "", `invalid mode "u+x"`},
		{"path", file, "/a/b", "/a/b", ""},
		{"path", file, "/a//b/../c/", "/a/c", ""},
		{"path", file, "/../..", "/", ""},
		{"path", file, "a", "", `invalid path "a": want an absolute path`},
		{"path", file, "~/a", "", `invalid path "~/a"`},
		{"path", file, "", "", `invalid path ""`},
		{"path", file, "/a\x00b", "", "it contains a zero byte"},
		{"duration", span, "90s", "1m30s", ""},
		{"duration", span, "1h30m", "1h30m0s", ""},
		{"duration", span, "30d", "720h0m0s", ""},
		{"duration", span, "0", "0s", ""},
		{"duration", span, "65535d", "1572840h0m0s", ""},
		{"duration", span, "65536d", "", `invalid duration "65536d"`},
		{"duration", span, "-1s", "", `invalid duration "-1s"`},
		{"duration", span, "-1d", "", `invalid duration "-1d"`},
		{"duration", span, "d", "", `invalid duration "d"`},
		{"duration", span, "5", "", `invalid duration "5"`},
		{"duration", span, "1d12h", "", `invalid duration "1d12h"`},
		{"duration", span, "9999999h", "", `invalid duration "9999999h"`},
	}
	for _, tt := range tests {
		got, err := tt.read(tt.text)
		switch {
		case tt.fault == "" && (err != nil || got != tt.want):
			t.Errorf("%s %q: got %q, %v, want %q", tt.kind, tt.text, got, err, tt.want)
		case tt.fault != "" && (err == nil || !strings.Contains(err.Error(), tt.fault)):
			t.Errorf("%s %q: got %q, %v, want the error %q", tt.kind, tt.text, got, err, tt.fault)
		}
	}
}

func TestModeAndFS(t *testing.T) {
	for m := range task.Mode(0o10000) {
		if got := task.ModeOf(m.FS()); got != m {
			t.Fatalf("ModeOf(%v) = %v, want %v", m.FS(), got, m)
		}
	}
	if got := task.ModeOf(fs.ModeDir | fs.ModeSticky | 0o777); got != 0o1777 {
		t.Errorf("ModeOf a sticky directory: got %v", got)
	}
}

func TestBlobShowsNoContent(t *testing.T) {
	b := task.NewBlob([]byte("c4n4ry"))
	out, err := json.Marshal(struct{ B task.Blob }{b})
	if err != nil || strings.Contains(string(out), "c4n4ry") || !json.Valid(out) || !strings.Contains(string(out), b.Digest) {
		t.Errorf("got %s, %v", out, err)
	}
	if _, ok := (task.Blob{Digest: b.Digest, Size: 6}).Inline(); ok {
		t.Error("content that is elsewhere claims to be here")
	}
	if data, ok := (task.Blob{}).Inline(); !ok || len(data) != 0 {
		t.Error("no content needs no fetching")
	}
}

func FuzzMode(f *testing.F) {
	f.Add("0644")
	f.Add("0o7777")
	f.Fuzz(func(t *testing.T, s string) {
		var m, again task.Mode
		if m.UnmarshalText([]byte(s)) != nil {
			return
		}
		text, _ := m.MarshalText()
		if err := again.UnmarshalText(text); err != nil || again != m || m > 0o7777 || len(text) != 4 {
			t.Errorf("%q became %v and then %v, %v", s, m, again, err)
		}
	})
}

func FuzzPath(f *testing.F) {
	f.Add("/a/../b//c")
	f.Fuzz(func(t *testing.T, s string) {
		var p, again task.Path
		if p.UnmarshalText([]byte(s)) != nil {
			return
		}
		if !path.IsAbs(string(p)) || path.Clean(string(p)) != string(p) || strings.ContainsRune(string(p), 0) {
			t.Errorf("%q became %q", s, p)
		}
		text, _ := p.MarshalText()
		if err := again.UnmarshalText(text); err != nil || again != p {
			t.Errorf("%q became %q and then %q, %v", s, p, again, err)
		}
	})
}

func FuzzDuration(f *testing.F) {
	for _, s := range []string{"90s", "30d", "1h30m", "1.5h", "-0s", "65535d", "1µs"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var d, again task.Duration
		if d.UnmarshalText([]byte(s)) != nil {
			return
		}
		text, _ := d.MarshalText()
		if err := again.UnmarshalText(text); err != nil || again != d || d < 0 || d.Std() != time.Duration(d) {
			t.Errorf("%q became %v and then %v, %v", s, d.Std(), again.Std(), err)
		}
	})
}
