package plain_test

import (
	"testing"

	"holdfast/runner/plain"
)

func TestPlain(t *testing.T) {
	for in, want := range map[string]string{"plain": "plain", "a\x1b[0mb": "a·[0mb", "a\nb\tc\r": "a b c ", "Zürich ✓ می\u200cخواهم": "Zürich ✓ می\u200cخواهم",
		"\u202etxt.exe": "·txt.exe", "\xff": "·", "a\u2029b": "a b", "\ufeffx": "·x", "\U000e0041": "·"} {
		if got := plain.Line(in); got != want {
			t.Errorf("plain.Line(%q) = %q, want %q", in, got, want)
		}
	}
	if got, want := plain.Text("a\r\n\tb\x07\nc"), "a\n    b·\nc"; got != want {
		t.Errorf("Text = %q, want %q", got, want)
	}
}
