package reboot_test

import (
	"strings"
	"testing"

	"holdfast/tasks/reboot"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, reboot.Module) }

func TestRun(t *testing.T) {
	h := tasktest.NewHost()
	h.AddFile("/run/reboot-required.pkgs", "linux-image-amd64\nlibc6\n", 0o644)
	var got []string
	h.OnRun = func(c task.Command) (task.Output, error) { got = c.Argv; return task.Output{}, nil }
	r, changed, err := tasktest.Run(t, h, reboot.Module, "{delay: 5, message: bye all}")
	if res := r.(reboot.Result); err != nil || !changed || res.BootID != "boot" || res.Reason != "linux-image-amd64 libc6" {
		t.Errorf("got %+v, changed %v (%v)", res, changed, err)
	}
	if line := strings.Join(got, " "); !strings.Contains(line, "--on-active=5") || !strings.HasSuffix(line, "systemctl reboot --message=bye all") {
		t.Errorf("runs %q", line)
	}
}

func TestSkip(t *testing.T) {
	h := tasktest.NewHost()
	b := tasktest.Bind(t, h, reboot.Module, "{only_if_needed: true}")
	if why, err := b.Skip(t.Context(), h); err != nil || why == "" {
		t.Errorf("got %q (%v), want a reason to skip", why, err)
	}
	h.AddFile("/run/reboot-required", "", 0o644)
	if why, err := b.Skip(t.Context(), h); err != nil || why != "" {
		t.Errorf("got %q (%v), want no reason to skip", why, err)
	}
}

func TestRefusals(t *testing.T) {
	h := tasktest.NewHost()
	h.SetFacts(func(f *task.Facts) { f.Init = "runit" })
	if _, _, err := tasktest.Run(t, h, reboot.Module, "{}"); err == nil || !strings.Contains(err.Error(), "process 1 is runit") {
		t.Errorf("got %v", err)
	}
	h = tasktest.NewHost()
	h.OnRun = func(task.Command) (task.Output, error) { return task.Output{Status: 1, Stderr: "busy"}, nil }
	if _, _, err := tasktest.Run(t, h, reboot.Module, "{}"); err == nil || !strings.Contains(err.Error(), "systemd-run exits 1: busy") {
		t.Errorf("got %v", err)
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{delay: 0}":           "less than 1",
		"{message: \"a\\nb\"}": "want one line",
		"{when: now}":          "unknown field",
	} {
		if got := tasktest.Fault(reboot.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
