package secret_test

import (
	"encoding/base64"
	"regexp"
	"strings"
	"testing"

	"holdfast/tasks/secret"
)

func TestMake(t *testing.T) {
	tests := []struct {
		kind, alphabet string
		length         int
		want           string
	}{
		{"token", "", 0, `^[A-Za-z0-9_-]{43}$`},
		{"password", "", 0, `^[A-Za-z0-9]{24}$`},
		{"password", "ab", 64, `^[ab]{64}$`},
		{"hex", "", 32, `^[0-9a-f]{32}$`},
		{"base64", "", 12, `^[A-Za-z0-9+/]{16}$`},
	}
	for _, tt := range tests {
		seen := map[string]bool{}
		for range 20 {
			got, err := secret.Make(tt.kind, tt.length, tt.alphabet)
			if err != nil || !regexp.MustCompile(tt.want).MatchString(got.Reveal()) {
				t.Errorf("Make(%q, %d, %q): %v, and it does not look like %s", tt.kind, tt.length, tt.alphabet, err, tt.want)
			}
			seen[got.Reveal()] = true
		}
		if len(seen) != 20 {
			t.Errorf("Make(%q) gave %d different secrets of 20", tt.kind, len(seen))
		}
	}
}

func TestMakeUsesAllCharacters(t *testing.T) {
	got, err := secret.Make("password", 4096, "")
	if err != nil {
		t.Fatal(err)
	}
	// Each of 62 is missing with a chance of about 1e-29.
	for _, c := range "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789" {
		if !strings.ContainsRune(got.Reveal(), c) {
			t.Errorf("%c does not come", c)
		}
	}
	b64, err := secret.Make("base64", 33, "")
	if b, derr := base64.StdEncoding.DecodeString(b64.Reveal()); err != nil || derr != nil || len(b) != 33 {
		t.Errorf("got %d bytes, %v, %v", len(b), err, derr)
	}
}

func TestMakeFaults(t *testing.T) {
	tests := []struct {
		kind, alphabet string
		length         int
		want           string
	}{
		{"pin", "", 4, `"pin" is no kind of secret`},
		{"password", "", 8, "that can be guessed: it has 47 bits"},
		{"password", "a", 100, "that can be guessed: it has 0 bits"},
		{"password", "aab", 100, "each once"},
		{"password", "aé", 100, "printable ASCII"},
		{"hex", "abc", 100, "has an alphabet of its own"},
		{"token", "", -1, "is not between"},
		{"token", "", 5000, "is not between"},
	}
	for _, tt := range tests {
		got, err := secret.Make(tt.kind, tt.length, tt.alphabet)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !got.IsZero() {
			t.Errorf("Make(%q, %d, %q) = %v, want %q", tt.kind, tt.length, tt.alphabet, err, tt.want)
		}
	}
}
