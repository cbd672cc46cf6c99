package tasktest_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

// changes is one call of every method that changes the host.
func changes() map[string]func(context.Context, *tasktest.Host) error {
	yes, mode, home, hash := true, task.Mode(0o600), "/home/new", "$y$hash"
	groups := []string{"adm"}
	unit := task.UnitRef{Name: "nginx.service"}
	return map[string]func(context.Context, *tasktest.Host) error{
		"WriteFile": func(ctx context.Context, h *tasktest.Host) error {
			return h.WriteFile(ctx, task.FileWrite{Path: "/etc/motd", Data: []byte("x"), Mode: &mode, Owner: "admin", Group: "4"})
		},
		"MakeDir":  func(ctx context.Context, h *tasktest.Host) error { return h.MakeDir(ctx, "/srv/a", 0o700, "admin", "") },
		"MakeLink": func(ctx context.Context, h *tasktest.Host) error { return h.MakeLink(ctx, "/etc/motd", "/run/motd") },
		"Remove":   func(ctx context.Context, h *tasktest.Host) error { return h.Remove(ctx, "/etc") },
		"SetMode":  func(ctx context.Context, h *tasktest.Host) error { return h.SetMode(ctx, "/etc/motd", 0o600) },
		"SetOwner": func(ctx context.Context, h *tasktest.Host) error { return h.SetOwner(ctx, "/etc/motd", "1000", "adm") },
		"PutUser": func(ctx context.Context, h *tasktest.Host) error {
			return h.PutUser(ctx, task.UserSpec{Name: "admin", Groups: &groups, Home: &home, MoveHome: true, PasswordHash: &hash})
		},
		"PutUser of a new one": func(ctx context.Context, h *tasktest.Host) error {
			return h.PutUser(ctx, task.UserSpec{Name: "new", CreateHome: true, HomeMode: &mode})
		},
		"DeleteUser":  func(ctx context.Context, h *tasktest.Host) error { return h.DeleteUser(ctx, "admin", true) },
		"PutGroup":    func(ctx context.Context, h *tasktest.Host) error { return h.PutGroup(ctx, task.GroupSpec{Name: "new"}) },
		"DeleteGroup": func(ctx context.Context, h *tasktest.Host) error { return h.DeleteGroup(ctx, "sudo") },
		"RefreshPackages": func(ctx context.Context, h *tasktest.Host) error {
			return h.RefreshPackages(ctx)
		},
		"InstallPackages": func(ctx context.Context, h *tasktest.Host) error {
			return h.InstallPackages(ctx, []task.PackageSpec{{Name: "ufw"}, {Name: "cron", Latest: true}, {Name: "sudo", Version: "3"}})
		},
		"RemovePackages": func(ctx context.Context, h *tasktest.Host) error {
			return h.RemovePackages(ctx, []string{"cron"}, false)
		},
		"SetUnit": func(ctx context.Context, h *tasktest.Host) error {
			return h.SetUnit(ctx, unit, task.UnitChange{Enable: &yes, Action: task.UnitStart})
		},
		"mask": func(ctx context.Context, h *tasktest.Host) error {
			return h.SetUnit(ctx, unit, task.UnitChange{Mask: &yes})
		},
		"SetLinger":      func(ctx context.Context, h *tasktest.Host) error { return h.SetLinger(ctx, "admin", true) },
		"SetKernelParam": func(ctx context.Context, h *tasktest.Host) error { return h.SetKernelParam(ctx, "vm.swappiness", "10") },
	}
}

func TestRestoreTakesBackEveryWrite(t *testing.T) {
	for name, change := range changes() {
		h := tasktest.NewHost()
		before := h.Snapshot()
		if err := change(t.Context(), h); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if bytes.Equal(before, h.Snapshot()) {
			t.Errorf("%s changes nothing", name)
		}
		h.Restore()
		if !bytes.Equal(before, h.Snapshot()) {
			t.Errorf("%s is not taken back", name)
		}
	}
}

func TestWritesFailBeforeTheyAct(t *testing.T) {
	for name, change := range changes() {
		h := tasktest.NewHost()
		before := h.Snapshot()
		h.FailAt(1)
		if err := change(t.Context(), h); !errors.Is(err, tasktest.ErrInjected) {
			t.Errorf("%s: got %v, want the injected failure", name, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := change(ctx, h); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want that it was cancelled", name, err)
		}
		if !bytes.Equal(before, h.Snapshot()) {
			t.Errorf("%s acts although it fails", name)
		}
	}
}

func TestPathsFollowLinksOfFolders(t *testing.T) {
	h := tasktest.NewHost()
	h.AddLink("/a", "/b")
	h.AddLink("/b", "srv")
	h.AddLink("/loop", "/loop")
	h.AddFile("/srv/f", "text", 0o644)
	if got, err := h.ReadFile(t.Context(), "/a/f", 10); err != nil || string(got) != "text" {
		t.Errorf("/a/f: got %q (%v), want text", got, err)
	}
	if info, err := h.Stat(t.Context(), "/a"); err != nil || info.Kind != task.KindLink || info.Target != "/b" {
		t.Errorf("/a: got %+v (%v), want a link to /b", info, err)
	}
	if got, err := h.ReadDir(t.Context(), "/a"); err != nil || !slices.Equal(got, []string{"f"}) {
		t.Errorf("/a: got %q (%v), want f", got, err)
	}
	if _, err := h.ReadFile(t.Context(), "/loop/f", 10); err == nil {
		t.Error("/loop/f: got no error for a loop of links")
	}
}

func TestUnitsComeFromFiles(t *testing.T) {
	ctx, h := t.Context(), tasktest.NewHost()
	ref := task.UnitRef{Name: "agent.service"}
	if u, err := h.Unit(ctx, ref); err != nil || u.Exists {
		t.Errorf("before: got %+v (%v), want no unit", u, err)
	}
	write := func(text string) {
		if err := h.WriteFile(ctx, task.FileWrite{Path: "/etc/systemd/system/agent.service", Data: []byte(text)}); err != nil {
			t.Fatal(err)
		}
	}
	write("[Service]\nExecStart=/bin/a\n")
	if err := h.SetUnit(ctx, ref, task.UnitChange{Action: task.UnitStart}); err != nil {
		t.Fatal(err)
	}
	if u, err := h.Unit(ctx, ref); err != nil || u.Active != "active" || u.NeedReload {
		t.Errorf("started: got %+v (%v), want it active", u, err)
	}
	write("[Service]\nExecStart=/bin/b\n")
	if u, err := h.Unit(ctx, ref); err != nil || !u.NeedReload {
		t.Errorf("changed: got %+v (%v), want that it needs a reload", u, err)
	}
	if err := h.ReloadUnits(ctx, ""); err != nil {
		t.Fatal(err)
	}
	if u, err := h.Unit(ctx, ref); err != nil || u.NeedReload {
		t.Errorf("reloaded: got %+v (%v), want no need for it", u, err)
	}
}
