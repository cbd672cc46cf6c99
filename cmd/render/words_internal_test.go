package render

import (
	"strings"
	"testing"
	"time"

	"holdfast/tasks/task"
)

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0 s", 0: "0 s", 30 * time.Millisecond: "30 ms", 96 * time.Millisecond: "0.1 s", 840 * time.Millisecond: "0.8 s",
		9949 * time.Millisecond: "9.9 s", 9950 * time.Millisecond: "10 s", 12400 * time.Millisecond: "12 s",
		59400 * time.Millisecond: "59 s", 59500 * time.Millisecond: "1 m 0 s", 200 * time.Second: "3 m 20 s",
		time.Hour - time.Millisecond: "1 h 0 m", 125 * time.Minute: "2 h 5 m", 30 * time.Hour: "30 h 0 m",
	} {
		if got := duration(d); got != want {
			t.Errorf("duration(%s): got %q, want %q", d, got, want)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 999_949: "999.9 kB", 999_951: "1.0 MB", 2_612_345: "2.6 MB", 3e12: "3.0 TB", 4e15: "4000.0 TB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d): got %q, want %q", n, got, want)
		}
	}
}

func TestNames(t *testing.T) {
	every := hostsOf(30)
	for _, tt := range []struct {
		hosts []string
		each  bool
		want  string
	}{
		{every[:1], false, "sb1"},
		{every[:3], false, "sb1, sb2, sb3 (3 hosts)"},
		{every[:20], false, "sb1, sb2, sb3, sb4 … and 16 more (20 hosts)"},
		{every[2:], false, "all but sb1, sb2 (28 hosts)"},
		{every, false, "all 30 hosts"},
		{every[:9], true, strings.Join(every[:9], ", ") + " (9 hosts)"},
	} {
		if got := names(tt.hosts, every, tt.each); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestDiffIsLimited(t *testing.T) {
	text := func(n int) string {
		return "--- a\n+++ b\n@@ -0,0 +1 @@\n" + strings.Repeat("+x\n", n)
	}
	for n, want := range map[int]struct {
		lines int
		last  string
	}{1: {2, "  +x"}, 59: {60, "  +x"}, 60: {61, "  … 1 more line"}, 500: {61, "  … 441 more lines"}} {
		got := diff(text(n))
		if last := got[len(got)-1].paint(false); len(got) != want.lines || last != want.last {
			t.Errorf("%d lines: got %d lines up to %q, want %d up to %q", n, len(got), last, want.lines, want.last)
		}
	}
	if got := diff(""); got != nil {
		t.Errorf("got %v, want nothing", got)
	}
}

func TestValues(t *testing.T) {
	for _, tt := range []struct {
		c    task.Change
		want string
	}{
		{task.Set("mode", "0600", "0644"), `"0600" → "0644"`},
		{task.Set("groups", "", "sudo"), `"" → "sudo"`},
		{task.Set("groups", "sudo", ""), `"sudo" → ""`},
		{task.Change{After: "x", Kind: task.Create}, `"x" (new)`},
		{task.Change{Before: "x", Kind: task.Delete}, `"x" (removed)`},
		{task.Change{After: "restart", Kind: task.Act}, `"restart"`},
		{task.Change{Kind: task.Act}, "act"},
		{task.Change{Before: "secret", Sensitive: true, Kind: task.Update}, "(sensitive)"},
		{task.Set("a", "x\ny", "\x1b[2J"), `"x\ny" → "\x1b[2J"`},
		{task.Set("a", "", strings.Repeat("é", 170)), `"" → "` + strings.Repeat("é", 160) + `"… 10 more characters`},
	} {
		if got := (detail{}).values(tt.c).paint(false); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
	hide := detail{redact: func(s string) string { return strings.ReplaceAll(s, "hunter2", "***") }}
	if got := hide.values(task.Set("a", strings.Repeat("x", 157)+"hunter2", "")).paint(false); strings.Contains(got, "hun") {
		t.Errorf("got the beginning of a secret: %s", got)
	}
}

func TestCut(t *testing.T) {
	l := line{{"漢字", bad}, {"abc", normal}}
	for width, want := range map[int]string{0: "", 1: "…", 2: "…", 3: "漢…", 4: "漢…", 5: "漢字…", 6: "漢字a…", 7: "漢字abc", 80: "漢字abc"} {
		if got := l.cut(width).paint(false); got != want {
			t.Errorf("cut(%d): got %q, want %q", width, got, want)
		}
	}
}
