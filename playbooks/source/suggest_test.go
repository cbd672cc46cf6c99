package source_test

import (
	"strings"
	"testing"

	"holdfast/playbooks/source"
)

func TestDidYouMean(t *testing.T) {
	tests := []struct {
		name       string
		candidates []string
		want       string
	}{
		{"modee", []string{"owner", "mode"}, `did you mean "mode"?`},
		{"mdoe", []string{"owner", "mode"}, `did you mean "mode"?`},
		{"mxxe", []string{"mode"}, ""},
		{"addres", []string{"address", "adders"}, `did you mean "adders"?`},
		{"abcdef", []string{"abcdeg", "abcdea"}, `did you mean "abcdea"?`},
		{"groß", []string{"gross", "größ"}, `did you mean "größ"?`},
		{"hosts", nil, ""},
		{strings.Repeat("a", 101), []string{strings.Repeat("a", 100)}, ""},
		{"a", []string{strings.Repeat("a", 1<<20)}, ""},
	}
	for _, tt := range tests {
		if got := source.DidYouMean(tt.name, tt.candidates); got != tt.want {
			t.Errorf("DidYouMean(%.20q, %.40q) got %q, want %q", tt.name, tt.candidates, got, tt.want)
		}
	}
}
