package sshd_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"holdfast/tasks/sshd"
	"holdfast/tasks/tasktest"
)

// ports returns where the server would listen by its files.
func ports(t *testing.T, h *tasktest.Host) []int64 {
	t.Helper()
	state, _, err := tasktest.Bind(t, h, sshd.Module, "{state: absent, dropin: none}").Observe(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	var out struct{ Ports []int64 }
	data, err := json.Marshal(state)
	if err == nil {
		err = json.Unmarshal(data, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Ports
}

func TestPorts(t *testing.T) {
	tests := []struct {
		name, main string
		files      map[string]string
		want       []int64
	}{
		{"by default", "UsePAM yes\n", nil, []int64{22}},
		{"two lines", "Port 22\nPort 222\n", nil, []int64{22, 222}},
		{"an equals sign and a comment", "port = 222 # the new one\n", nil, []int64{222}},
		{"in quotes", "Port \"222\"\n", nil, []int64{222}},
		{"included files add up", "Include sshd_config.d/*.conf\nPort 22\n", map[string]string{"b.conf": "Port 2", "a.conf": "Port 1"}, []int64{1, 2, 22}},
		{"other names and hidden files are not included", "Include /etc/ssh/sshd_config.d/*.conf\n", map[string]string{"a.bak": "Port 1", ".a.conf": "Port 2"}, []int64{22}},
		{"an address with a port", "Port 222\nListenAddress 10.0.0.1:23\n", nil, []int64{23}},
		{"an address without", "Port 222\nListenAddress 10.0.0.1\n", nil, []int64{222}},
		{"IPv6 addresses", "Port 222\nListenAddress [::1]:23\nListenAddress ::1\n", nil, []int64{23, 222}},
		{"a Match block counts for nothing", "Match User x\n Port 222\n", nil, []int64{22}},
		{"a Match block ends with its file", "Include sshd_config.d/*.conf\nPort 23\n", map[string]string{"a.conf": "Match User x\nX11Forwarding no\n"}, []int64{23}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := tasktest.NewHost()
			h.AddFile(mainFile, tt.main, 0o644)
			for name, text := range tt.files {
				h.AddFile("/etc/ssh/sshd_config.d/"+name, text, 0o644)
			}
			if got := ports(t, h); !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	for text, want := range map[string]string{
		"Include sshd_config\n":    "included too deeply",
		"Include */x.conf\n":       "a folder with wildcards",
		"UsePAM yes\nBanner \"x\n": "line 2: a quotation mark is not closed",
	} {
		h := tasktest.NewHost()
		h.AddFile(mainFile, text, 0o644)
		if got := apply(t, h, "{settings: {MaxAuthTries: 3}}"); !strings.Contains(got, want) {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
