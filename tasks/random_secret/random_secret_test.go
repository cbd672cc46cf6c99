package randomsecret_test

import (
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	randomsecret "holdfast/tasks/random_secret"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, randomsecret.Module) }

func TestDiff(t *testing.T) {
	const old, young = 100 * 24 * time.Hour, time.Hour
	tests := []struct {
		name, args, want string
		age              time.Duration
	}{
		{"missing", "{path: /etc/token}", "state absent > present; mode  > 0600", 0},
		{"there", "{path: /etc/motd, mode: 0640}", "mode 0644 > 0640", young},
		{"never replaced without being told", "{path: /etc/motd, kind: hex, length: 20}", "mode 0644 > 0600", old},
		{"young", "{path: /etc/motd, rotate_after: 90d}", "mode 0644 > 0600", young},
		{"overdue", "{path: /etc/motd, rotate_after: 90d}", "rotate_after made T > a new value; mode 0644 > 0600", old},
		{"age not known", "{path: /etc/motd, rotate_after: 90d}", "mode 0644 > 0600", 0},
		{"absent", "{path: /etc/motd, state: absent}", "state file > absent", old},
		{"absent already", "{path: /etc/token, state: absent}", "", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := tasktest.NewHost()
			if tt.age > 0 {
				h.SetModified("/etc/motd", time.Now().Add(-tt.age))
			}
			if got := describe(tasktest.Diff(t, h, randomsecret.Module, tt.args)); got != tt.want {
				t.Errorf("diff of %s: got %q, want %q", tt.args, got, tt.want)
			}
		})
	}
}

var stamp = regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:]+Z`)

func describe(changes []task.Change) string {
	var out []string
	for _, c := range changes {
		out = append(out, stamp.ReplaceAllString(c.Attr+" "+c.Before+" > "+c.After, "T"))
	}
	return strings.Join(out, "; ")
}

func read(t *testing.T, h *tasktest.Host, path string) string {
	t.Helper()
	data, err := h.ReadFile(context.Background(), path, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestValues(t *testing.T) {
	for args, want := range map[string]string{
		"{path: /etc/a}": `^[A-Za-z0-9_-]{43}$`,
		`{path: /etc/a, kind: hex, length: 40, format: "KEY=%s\n"}`: `^KEY=[0-9a-f]{40}\n$`,
		"{path: /etc/a, kind: base64}":                              `^[A-Za-z0-9+/]{43}=$`,
		"{path: /etc/a, kind: password, alphabet: xyz, length: 80}": `^[xyz]{80}$`,
	} {
		seen := map[string]bool{}
		for range 3 {
			h := tasktest.NewHost()
			state, err := tasktest.Apply(t, h, randomsecret.Module, args)
			if err != nil {
				t.Fatal(err)
			}
			got := read(t, h, "/etc/a")
			if !regexp.MustCompile(want).MatchString(got) || seen[got] {
				t.Errorf("%s made %d bytes that do not look like %s, or the same again", args, len(got), want)
			}
			seen[got] = true
			shown, err := json.Marshal(state)
			if err != nil || strings.Contains(string(shown), strings.TrimSpace(got)) {
				t.Errorf("the result shows the value: %s, %v", shown, err)
			}
			if _, err := tasktest.Apply(t, h, randomsecret.Module, args); err != nil || read(t, h, "/etc/a") != got {
				t.Errorf("applied again it has another value, %v", err)
			}
		}
	}
}

func TestRotates(t *testing.T) {
	h := tasktest.NewHost()
	h.SetModified("/etc/motd", time.Now().Add(-100*24*time.Hour))
	before := read(t, h, "/etc/motd")
	if _, err := tasktest.Apply(t, h, randomsecret.Module, "{path: /etc/motd, rotate_after: 90d}"); err != nil {
		t.Fatal(err)
	}
	if read(t, h, "/etc/motd") == before {
		t.Error("an overdue value was kept")
	}
}

func TestRefuses(t *testing.T) {
	for _, args := range []string{"{path: /etc}", "{path: /bin}", "{path: /etc, state: absent}"} {
		if _, err := tasktest.Apply(t, tasktest.NewHost(), randomsecret.Module, args); err == nil || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("%s: got %v", args, err)
		}
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{path: /x, mode: 0644}":                               "random_secret.mode: 0644 lets everybody have it",
		"{path: /x, format: abc}":                              "random_secret.format: want %s once",
		`{path: /x, format: "%s %s"}`:                          "random_secret.format: want %s once",
		"{path: /x, kind: password, length: 4}":                "random_secret.kind: that can be guessed: it has 23 bits",
		"{path: /x, kind: hex, alphabet: abc}":                 "random_secret.kind: a secret of the kind hex has an alphabet of its own",
		"{path: /x, rotate_after: 0s}":                         "random_secret.rotate_after: want a time",
		"{path: /x, kind: pin}":                                "random_secret.kind",
		"{path: /x, kind: password, alphabet: aa, length: 99}": "each once",
	} {
		if got := tasktest.Fault(randomsecret.Module, args); !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", args, got, want)
		}
	}
}
