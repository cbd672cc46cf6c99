package task_test

import (
	"errors"
	"strings"
	"testing"

	"holdfast/tasks/task"
)

func TestContentChange(t *testing.T) {
	none := task.Content{}
	of := func(s string) task.Content { return task.ContentOf([]byte(s)) }
	big := of(strings.Repeat("x", task.MaxText+1))
	tests := []struct {
		name          string
		before, after task.Content
		kind, diff    string
	}{
		{"a new file", none, of("a\n"), task.Create, "--- /f\n+++ /f\n@@ -0,0 +1 @@\n+a\n"},
		{"a changed line", of("a\nb\nc\n"), of("a\nB\nc\n"), task.Update, "--- /f\n+++ /f\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n"},
		{"no line end at the end", of("a\n"), of("a"), task.Update, "--- /f\n+++ /f\n@@ -1 +1 @@\n-a\n+a\n\\ No newline at end of file\n"},
		{"a file that goes", of("a\n"), none, task.Delete, "--- /f\n+++ /f\n@@ -1 +0,0 @@\n-a\n"},
		{"the same", of("a\n"), of("a\n"), task.Update, ""},
		{"an empty file", of("a\n"), of(""), task.Update, "--- /f\n+++ /f\n@@ -1 +0,0 @@\n-a\n"},
		{"too large", of("a\n"), big, task.Update, ""},
		{"not text", of("a\x00"), of("b\n"), task.Update, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := task.ContentChange("content", "/f", tt.before, tt.after)
			if c.Kind != tt.kind || c.Diff != tt.diff || c.Attr != "content" {
				t.Errorf("got %s %q\nwant %s %q", c.Kind, c.Diff, tt.kind, tt.diff)
			}
			if (c.Before == "") != (tt.before.Digest == "") || (c.After == "") != (tt.after.Digest == "") {
				t.Errorf("summaries: got %q and %q", c.Before, c.After)
			}
		})
	}
	if got, want := task.ContentChange("a", "/f", none, of("abc")).After, "3 bytes, sha256 ba7816bf8f01"; got != want {
		t.Errorf("summary: got %q, want %q", got, want)
	}
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]bool{"": true, "a\tb\r\nc\n": true, "Zürich ✓": true, "a\x00": false, "\x1b[31m": false,
		"\x7f": false, "\u009b31m": false, "\xff": false, "\ufffd": true} {
		if got := task.Printable([]byte(text)); got != want {
			t.Errorf("Printable(%q) = %v, want %v", text, got, want)
		}
	}
	if c := task.ContentOf([]byte("a\x1b")); c.IsText || c.Text != "" || c.Size != 2 {
		t.Errorf("ContentOf an escape: got %+v", c)
	}
}

func TestErrors(t *testing.T) {
	err := task.Unknownf("the key of %s", "a")
	if !errors.Is(err, task.ErrUnknown) || err.Error() != "not known yet: the key of a" {
		t.Errorf("Unknownf: got %v", err)
	}
	n := &task.NotSettled{Changes: []task.Change{task.Set("mode", "0644", "0600"), {Attr: "content", Before: "1 bytes", After: "2 bytes"}, {Attr: "secret", Sensitive: true}}}
	if got, want := n.Error(), `did not settle: after the change mode is "0644", want "0600", content is "1 bytes", want "2 bytes", secret differs`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
