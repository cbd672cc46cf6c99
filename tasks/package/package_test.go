package packages_test

import (
	"strings"
	"testing"

	packages "holdfast/tasks/package"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, packages.Module) }

// host has package old at 1.0, half at 1.0 but not configured, left with its
// configuration only, provided by another package, and held at 1.0; the lists offer 2.0 of each.
func host() *tasktest.Host {
	h := tasktest.NewHost()
	h.AddPackage(task.Package{Name: "old", Installed: true, Version: "1.0"})
	h.AddPackage(task.Package{Name: "half", Version: "1.0", Broken: true})
	h.AddPackage(task.Package{Name: "left", Config: true})
	h.AddPackage(task.Package{Name: "provided", Installed: true})
	h.AddPackage(task.Package{Name: "held", Installed: true, Version: "1.0", Held: true})
	h.OnQuery = func(c task.Command) (task.Output, error) {
		var out strings.Builder
		for _, name := range c.Argv[3:] {
			out.WriteString(name + ":\n  Installed: 1.0\n  Candidate: 2.0\n  Version table:\n     2.0 500\n        500 http://deb.debian.org/debian bookworm/main amd64 Packages\n")
		}
		return task.Output{Stdout: out.String()}, nil
	}
	return h
}

func TestDiff(t *testing.T) {
	tests := []struct{ name, args, want string }{
		{"missing packages, one change each", "{install: [a0, b0]}", "install  > a0; install  > b0"},
		{"there already", "{install: [old]}", ""},
		{"there in that version", "{install: [old=1.0]}", ""},
		{"another version", "{install: [old=0.9]}", "install old=1.0 > old=0.9"},
		{"missing in a version", "{install: [a0=3]}", "install  > a0=3"},
		{"half configured", "{install: [half]}", "install half (half installed) > half"},
		{"only its configuration is there", "{install: [left]}", "install  > left"},
		{"newest", "{install: [old], latest: true}", "install old=1.0 > old=2.0"},
		{"newest of one that is held", "{install: [held], latest: true}", ""},
		{"newest does not move an exact version", "{install: [old=1.0], latest: true}", ""},
		{"old lists and nothing to install", "{install: [old], refresh: 1h}", ""},
		{"old lists and something to install", "{install: [a0], refresh: 1h}", "refresh never > now; install  > a0"},
		{"absent", "{absent: [old]}", "absent old=1.0 > "},
		{"absent already", "{absent: [a0]}", ""},
		{"absent but for its configuration", "{absent: [left]}", ""},
		{"purge what is left", "{absent: [left], purge: true}", "absent left (configuration) > "},
		{"absent and half configured", "{absent: [half]}", "absent half (half installed) > "},
		{"installed by another name", "{install: [provided]}", ""},
		{"absent by its own name", "{absent: [provided]}", ""},
		{"both", "{install: [a0], absent: [old]}", "install  > a0; absent old=1.0 > "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out []string
			for _, c := range tasktest.Diff(t, host(), packages.Module, tt.args) {
				out = append(out, c.Attr+" "+c.Before+" > "+c.After)
			}
			if got := strings.Join(out, "; "); got != tt.want {
				t.Errorf("diff of %s: got %q, want %q", tt.args, got, tt.want)
			}
		})
	}
}

func TestApplySettles(t *testing.T) {
	for _, args := range []string{
		"{install: [a0, b0=3, old=0.9, half], absent: [held], refresh: 1h}",
		"{absent: [left, old, half], purge: true}",
		"{install: [left]}",
	} {
		if _, err := tasktest.Apply(t, host(), packages.Module, args); err != nil {
			t.Errorf("package %s: %v", args, err)
		}
	}
}

func TestOneTransactionAndOneRefresh(t *testing.T) {
	h := host()
	if _, err := tasktest.Apply(t, h, packages.Module, "{install: [a0, old, b0], absent: [held], refresh: 1h}"); err != nil {
		t.Fatal(err)
	}
	var did []string
	for _, c := range h.Writes() {
		did = append(did, c.Method+" "+c.Subject)
	}
	if got, want := strings.Join(did, "; "), "remove package held; refresh package lists; install a0 b0"; got != want {
		t.Errorf("got the writes %q, want %q", got, want)
	}
}

func TestFreshListsAreNotRefreshed(t *testing.T) {
	h := host()
	if err := h.RefreshPackages(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.Forget()
	if _, err := tasktest.Apply(t, h, packages.Module, "{install: [a0], refresh: 1h}"); err != nil {
		t.Fatal(err)
	}
	if w := h.Writes(); len(w) != 1 || w[0].Method != "install" {
		t.Errorf("got the writes %v, want the install alone", w)
	}
}

func TestConvergedStartsNoProcess(t *testing.T) {
	h := host()
	if changes := tasktest.Diff(t, h, packages.Module, "{install: [old], absent: [a0], refresh: 1h}"); len(changes) > 0 {
		t.Fatalf("got %v, want no change", changes)
	}
	for _, c := range h.Calls() {
		if c.Method == "query" || c.Method == "run" {
			t.Errorf("looking starts %s", c.Subject)
		}
	}
}

func TestLookingUpTheNewestMayFail(t *testing.T) {
	h := host()
	h.OnQuery = func(task.Command) (task.Output, error) {
		return task.Output{Status: 100, Stderr: "E: the lists are broken\n"}, nil
	}
	_, err := tasktest.Apply(t, h, packages.Module, "{install: [old], latest: true}")
	if err == nil || !strings.Contains(err.Error(), "status 100: E: the lists are broken") {
		t.Errorf("got %v, want what apt-cache said", err)
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{}":                               "there is nothing to do",
		"{install: nginx}":                 "write it as a list: [nginx]",
		"{install: ['-y']}":                "is no name for a package",
		"{install: ['nginx-']}":            "is no name for a package",
		"{install: [Nginx]}":               "is no name for a package",
		"{install: ['a0=']}":               "has no version",
		"{install: ['a0=1.*']}":            "has no version",
		"{install: [a0, a0=1]}":            "is named twice",
		"{install: [a0], absent: [a0]}":    "package.absent: \"a0\" is named twice",
		"{install: [a0], purge: true}":     `needs "absent" too`,
		"{absent: [a0], latest: true}":     `needs "install" too`,
		"{install: [a0], refresh: 1 hour}": "invalid duration",
	} {
		if got := tasktest.Fault(packages.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
