package sysctl_test

import (
	"strings"
	"testing"

	"holdfast/tasks/sysctl"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, sysctl.Module) }

func TestDiff(t *testing.T) {
	tests := []struct{ name, args, want string }{
		{"a new file and a new value", "{name: a, values: {vm.swappiness: 10}}", "content create; vm.swappiness 60 > 10"},
		{"a new file only", "{name: a, values: {vm.swappiness: 60}}", "content create"},
		{"nothing", "{name: 10-set, values: {vm.swappiness: 60}}", ""},
		{"only the file", "{name: 10-set, values: {vm.swappiness: 60, net.ipv4.ip_forward: 0}}", "content update"},
		{"blanks count as one", "{name: a, values: {net.ipv4.ip_local_port_range: \"32768 \\t60999\"}}", "content create"},
		{"missing and marked", "{name: a, values: {-kernel.nothing: 1}}", "content create"},
		{"missing and ignored", "{name: a, values: {kernel.nothing: 1}, ignore_missing: true}", "content create"},
		{"absent", "{name: 10-set, state: absent}", "state present > absent"},
		{"absent already", "{name: a, state: absent}", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := tasktest.NewHost()
			h.AddFile("/etc/sysctl.d/10-set.conf", "# Managed by Holdfast: changes are lost with the next run.\nvm.swappiness = 60\n", 0o644)
			if got := describe(tasktest.Diff(t, h, sysctl.Module, tt.args)); got != tt.want {
				t.Errorf("diff of %s: got %q, want %q", tt.args, got, tt.want)
			}
		})
	}
}

func describe(changes []task.Change) string {
	var out []string
	for _, c := range changes {
		if c.Attr == "content" {
			out = append(out, c.Attr+" "+c.Kind)
			continue
		}
		out = append(out, c.Attr+" "+c.Before+" > "+c.After)
	}
	return strings.Join(out, "; ")
}

func TestApplySetsOnlyWhatDiffers(t *testing.T) {
	h := tasktest.NewHost()
	args := "{name: net, values: {net.ipv4.tcp_syncookies: 1, vm.swappiness: '10', -kernel.nothing: 1, net.ipv4.ip_local_port_range: 1024  65000}}"
	if _, err := tasktest.Apply(t, h, sysctl.Module, args); err != nil {
		t.Fatal(err)
	}
	var did []string
	for _, c := range h.Writes() {
		did = append(did, c.Method+" "+c.Subject)
	}
	got := strings.Join(did, "; ")
	for _, want := range []string{"net.ipv4.ip_local_port_range", "vm.swappiness", "/etc/sysctl.d/60-net.conf"} {
		if !strings.Contains(got, want) {
			t.Errorf("got the writes %q, want one to %s", got, want)
		}
	}
	if len(did) != 3 {
		t.Errorf("got the writes %q, want three", got)
	}
	want := "# Managed by Holdfast: changes are lost with the next run.\n-kernel.nothing = 1\n" +
		"net.ipv4.ip_local_port_range = 1024 65000\nnet.ipv4.tcp_syncookies = 1\nvm.swappiness = 10\n"
	if text, _ := h.File("/etc/sysctl.d/60-net.conf"); text != want {
		t.Errorf("file: got %q, want %q", text, want)
	}
}

func TestUnknownParameterFails(t *testing.T) {
	_, err := tasktest.Apply(t, tasktest.NewHost(), sysctl.Module, "{name: a, values: {kernel.nothing: 1}}")
	if err == nil || !strings.Contains(err.Error(), "write -kernel.nothing") {
		t.Errorf("got %v, want a failure that says what to write", err)
	}
}

func TestLaterFileThatSaysOtherwiseFails(t *testing.T) {
	tests := []struct{ name, file, text, args, want string }{
		{"later file", "/etc/sysctl.d/99-cloud.conf", "# x\nvm.swappiness=30\n", "{name: a, values: {vm.swappiness: 10}}", "99-cloud.conf is read later at boot and sets it to 30"},
		{"later file of the system", "/usr/lib/sysctl.d/70-x.conf", "-vm/swappiness = 30", "{name: a, values: {vm.swappiness: 10}}", "70-x.conf"},
		{"the same value", "/etc/sysctl.d/99-cloud.conf", "vm.swappiness = 10", "{name: a, values: {vm.swappiness: 10}}", ""},
		{"another parameter", "/etc/sysctl.d/99-cloud.conf", "vm.x = 10", "{name: a, values: {vm.swappiness: 10}}", ""},
		{"an earlier file", "/etc/sysctl.d/50-x.conf", "vm.swappiness = 30", "{name: a, values: {vm.swappiness: 10}}", ""},
		{"not a file of settings", "/etc/sysctl.d/README.sysctl", "vm.swappiness = 30", "{name: a, values: {vm.swappiness: 10}}", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := tasktest.NewHost()
			h.AddFile(tt.file, tt.text, 0o644)
			_, err := tasktest.Apply(t, h, sysctl.Module, tt.args)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestFileThatIsOverriddenDoesNotCount(t *testing.T) {
	h := tasktest.NewHost()
	h.AddFile("/usr/lib/sysctl.d/99-x.conf", "vm.swappiness = 30", 0o644)
	h.AddLink("/etc/sysctl.d/99-x.conf", "/dev/null")
	h.AddLink("/etc/sysctl.d/99-sysctl.conf", "../sysctl.gone")
	if _, err := tasktest.Apply(t, h, sysctl.Module, "{name: a, values: {vm.swappiness: 10}}"); err != nil {
		t.Errorf("got %v, want none: the file is overridden by nothing", err)
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{name: a}":                                 "there is nothing to set",
		"{values: {vm.x: 1}}":                       "sysctl.name: missing, it is required",
		"{name: a.conf, values: {vm.x: 1}}":         "no .conf",
		"{name: ../a, values: {vm.x: 1}}":           "is no name for the file",
		"{name: a, values: {swappiness: 1}}":        "is no kernel parameter",
		"{name: a, values: {net.ipv4.conf.*.x: 1}}": "is no kernel parameter",
		"{name: a, values: {vm.x: ''}}":             "vm.x needs a value",
		"{name: a, values: {vm.x: 1, -vm.x: 1}}":    "with and without -",
		"{name: a, values: {vm.x: [1]}}":            "want string",
	} {
		if got := tasktest.Fault(sysctl.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
