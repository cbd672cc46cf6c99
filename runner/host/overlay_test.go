package host_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"holdfast/runner/host"
	"holdfast/tasks/task"
)

func newOverlay(b *bench) (*host.Overlay, task.Writer) {
	o := host.NewOverlay(b.m.Reader())
	return o, o.Writer(host.Session{})
}

// TestOverlayPredictsFiles makes the same changes on the overlay and on the disk and
// compares what a task sees of them.
func TestOverlayPredictsFiles(t *testing.T) {
	b := newBench(t)
	b.prepare()
	before := b.state()
	_, w := newOverlay(b)
	for _, c := range changes {
		if err := c.do(b, w); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
	}
	if got := b.state(); got != before {
		t.Fatalf("the disk was touched: got\n%swant\n%s", got, before)
	}
	for _, c := range changes {
		b.must(c.do(b, b.writer()))
	}
	real := b.m.Reader()
	for _, name := range []string{
		"new", "old", "secret", "suid", "dir", "dir/sub", "dir/sub/f", "link", "oldlink", "tolink", "tofile", "gone", "gonelink",
		"tree", "tree/a", "tree/a/f", "missing", "link/x",
	} {
		want, err := real.Stat(ctx, b.path(name))
		b.must(err)
		got, err := w.Stat(ctx, b.path(name))
		if want.Kind == task.KindDir || want.Kind == task.KindLink {
			want.Size, got.Size = 0, 0
		}
		if want.Kind == task.KindLink {
			want.Owner, want.Group, got.Owner, got.Group = "", "", "", ""
		}
		if got.Modified.IsZero() {
			want.Modified = got.Modified // when it will be written is not known
		}
		if got != want || err != nil {
			t.Errorf("%s: got %+v and error %v, want %+v", name, got, err, want)
		}
		wantText, wantErr := real.ReadFile(ctx, b.path(name), 100)
		gotText, err := w.ReadFile(ctx, b.path(name), 100)
		if string(gotText) != string(wantText) || (err == nil) != (wantErr == nil) || errors.Is(err, fs.ErrNotExist) != errors.Is(wantErr, fs.ErrNotExist) {
			t.Errorf("%s: got %q and error %v, want %q and %v", name, gotText, err, wantText, wantErr)
		}
	}
	for _, name := range []string{"", "dir", "tree"} {
		want, err := real.ReadDir(ctx, b.path(name))
		b.must(err)
		if got, err := w.ReadDir(ctx, b.path(name)); strings.Join(got, " ") != strings.Join(want, " ") || err != nil {
			t.Errorf("%q: got %v and error %v, want %v", name, got, err, want)
		}
	}
}

func TestOverlayFailsWhereTheHostWould(t *testing.T) {
	b := newBench(t)
	b.put("f", "x")
	_, w := newOverlay(b)
	for name, err := range map[string]error{
		"no folder":     w.WriteFile(ctx, task.FileWrite{Path: b.path("no/f")}),
		"a file before": w.WriteFile(ctx, task.FileWrite{Path: b.path("f/g")}),
		"a directory":   w.WriteFile(ctx, task.FileWrite{Path: b.dir}),
		"no account":    w.SetOwner(ctx, b.path("f"), "no-such-account", ""),
		"nothing there": w.SetMode(ctx, b.path("g"), 0o600),
		"vital":         w.Remove(ctx, "/etc"),
		"no group":      w.PutUser(ctx, task.UserSpec{Name: "x", Groups: &[]string{"no-such-group"}}),
		"no parameter":  w.SetKernelParam(ctx, "no.such", "1"),
	} {
		if err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}

func TestOverlayFollowsPlannedLinks(t *testing.T) {
	b := newBench(t)
	b.must(os.Mkdir(b.path("dir"), 0o755))
	_, w := newOverlay(b)
	b.must(w.MakeLink(ctx, b.path("l"), "dir"))
	b.must(w.WriteFile(ctx, task.FileWrite{Path: b.path("l/f"), Data: []byte("x")}))
	if got, err := w.ReadFile(ctx, b.path("dir/f"), 10); string(got) != "x" || err != nil {
		t.Errorf("got %q and error %v, want x", got, err)
	}
	b.must(w.MakeLink(ctx, b.path("loop"), "loop"))
	if _, err := w.ReadFile(ctx, b.path("loop"), 10); err == nil {
		t.Error("a link to itself was read")
	}
}

func TestOverlayPredictsAccounts(t *testing.T) {
	b := newAccounts(t)
	spec := task.UserSpec{Name: "bob", Groups: &[]string{"sudo", "ops"}, Comment: ptr("Bob"), Home: ptr("/home/bob"), PasswordHash: ptr("$6$x")}
	o, w := newOverlay(b)
	for _, w := range []task.Writer{w, b.writer()} {
		b.must(w.PutGroup(ctx, task.GroupSpec{Name: "ops", GID: ptr(int64(1500))}))
		b.must(w.PutUser(ctx, spec))
		b.must(w.PutUser(ctx, task.UserSpec{Name: "ann", Shell: ptr("/bin/sh"), Groups: &[]string{}}))
	}
	for _, name := range []string{"bob", "ann"} {
		want, err := b.m.Reader().LookupUser(ctx, name)
		b.must(err)
		got, err := w.LookupUser(ctx, name)
		b.must(err)
		if name == "bob" {
			if got.UID != -1 {
				t.Errorf("got number %d, want -1: the system chooses it", got.UID)
			}
			got.UID, got.GID = want.UID, want.GID
		}
		if strings.Join(got.Groups, " ") != strings.Join(want.Groups, " ") {
			t.Errorf("%s: got groups %v, want %v", name, got.Groups, want.Groups)
		}
		got.Groups, want.Groups = nil, nil
		if got.Name != want.Name || got.Home != want.Home || got.Shell != want.Shell || got.Locked != want.Locked ||
			got.PasswordDigest != want.PasswordDigest || got.Comment != want.Comment || got.Group != want.Group {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
	if g, err := w.LookupGroup(ctx, "sudo"); err != nil || strings.Join(g.Members, " ") != "bob" {
		t.Errorf("got %+v and error %v, want sudo with bob alone", g, err)
	}
	// A planned account owns files, and has a home with the skeleton's files.
	b.must(w.WriteFile(ctx, task.FileWrite{Path: b.path("f"), Data: []byte("x"), Owner: "bob", Group: "ops"}))
	info, err := w.Stat(ctx, b.path("f"))
	if err != nil || info.Owner != "bob" || info.Group != "ops" {
		t.Errorf("got %+v and error %v, want bob's", info, err)
	}
	b.must(w.DeleteUser(ctx, "bob", false))
	if u, err := w.LookupUser(ctx, "bob"); u != nil || err != nil {
		t.Errorf("got %+v and error %v, want no account", u, err)
	}
	if why := o.Tentative(); why != "" {
		t.Errorf("got tentative %q, want nothing in doubt", why)
	}
}

func TestOverlayHomeAndRunAs(t *testing.T) {
	b := newBench(t)
	o, w := newOverlay(b)
	home := b.path("home")
	b.must(w.PutUser(ctx, task.UserSpec{Name: "bob-of-test", Home: &home, CreateHome: true, HomeMode: mode(0o750)}))
	as := o.Writer(host.Session{RunAs: "bob-of-test"})
	b.must(as.MakeDir(ctx, home+"/.ssh", 0o700, "", ""))
	b.must(as.WriteFile(ctx, task.FileWrite{Path: home + "/.ssh/authorized_keys", Data: []byte("key")}))
	info, err := as.Stat(ctx, home+"/.ssh/authorized_keys")
	if err != nil || info.Owner != "bob-of-test" || info.Group != "bob-of-test" {
		t.Errorf("got %+v and error %v, want a file of the planned account", info, err)
	}
	if info, err = w.Stat(ctx, home); err != nil || info.Mode != 0o750 || info.Kind != task.KindDir {
		t.Errorf("got %+v and error %v, want the home", info, err)
	}
}

func TestOverlayDoubts(t *testing.T) {
	b := newBench(t)
	o, w := newOverlay(b)
	if _, err := w.Stat(ctx, b.path("f")); err != nil || o.Tentative() != "" {
		t.Errorf("got error %v and tentative %q, want neither", err, o.Tentative())
	}
	b.must(w.InstallPackages(ctx, []task.PackageSpec{{Name: "holdfast-no-such-package"}}))
	p, err := w.Package(ctx, "holdfast-no-such-package")
	if err != nil || !p.Installed {
		t.Errorf("got %+v and error %v, want it installed", p, err)
	}
	b.must(w.WriteFile(ctx, task.FileWrite{Path: b.path("conf.d/x"), Data: []byte("x")}))
	if o.Tentative() == "" {
		t.Error("got no doubt about a folder that a package may bring")
	}
	if _, err := w.ReadFile(ctx, b.path("holdfast-no-such-package/conf"), 10); !errors.Is(err, task.ErrUnknown) {
		t.Errorf("got error %v, want unknown", err)
	}
	if _, err := w.Query(ctx, task.Command{Argv: []string{"no-such-program"}}); !errors.Is(err, task.ErrUnknown) {
		t.Errorf("got error %v, want unknown", err)
	}
	o.ResetTentative()
	if _, err := w.Stat(ctx, b.path("f")); err != nil || o.Tentative() != "" {
		t.Errorf("got error %v and tentative %q, want neither: no package is called like that", err, o.Tentative())
	}
	if _, err := w.Run(ctx, task.Command{Argv: []string{"make-things"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Stat(ctx, b.path("f")); err != nil || !strings.Contains(o.Tentative(), "make-things") {
		t.Errorf("got error %v and tentative %q, want one that names the command", err, o.Tentative())
	}
	if got := o.Opaque(); len(got) != 1 || got[0] != "make-things" {
		t.Errorf("got %v, want the command", got)
	}
}

// withUnits is a host with a service manager that knows these units.
type withUnits struct {
	task.Reader
	have map[string]task.Unit
}

func (u withUnits) Unit(_ context.Context, ref task.UnitRef) (task.Unit, error) {
	return u.have[ref.Name], nil
}

func TestOverlayPredictsUnits(t *testing.T) {
	b := newBench(t)
	o := host.NewOverlay(withUnits{b.m.Reader(), map[string]task.Unit{
		"ssh.service": {Exists: true, Enabled: "enabled", Active: "active", Sub: "running"},
	}})
	w := o.Writer(host.Session{})
	unit := func(name string) task.Unit {
		t.Helper()
		u, err := w.Unit(ctx, task.UnitRef{Name: name})
		b.must(err)
		return u
	}
	b.must(w.WriteFile(ctx, task.FileWrite{Path: "/etc/systemd/system/mine@.service", Data: []byte("[Service]\n[Install]\n")}))
	if u := unit("mine@a.service"); !u.Exists || u.Enabled != "disabled" || u.Active != "inactive" || !u.NeedReload {
		t.Errorf("a new unit: got %+v", u)
	}
	b.must(w.WriteFile(ctx, task.FileWrite{Path: "/etc/systemd/system/fixed.service", Data: []byte("[Service]\n")}))
	if u := unit("fixed.service"); u.Enabled != "static" {
		t.Errorf("a unit without [Install]: got %+v", u)
	}
	b.must(w.MakeDir(ctx, "/etc/systemd/system/ssh.service.d", 0o755, "", ""))
	b.must(w.WriteFile(ctx, task.FileWrite{Path: "/etc/systemd/system/ssh.service.d/x.conf", Data: []byte("[Service]\n")}))
	if u := unit("ssh.service"); !u.NeedReload {
		t.Errorf("a drop-in: got %+v, want that it needs a reload", u)
	}
	b.must(w.ReloadUnits(ctx, ""))
	if u := unit("ssh.service"); u.NeedReload {
		t.Errorf("after a reload: got %+v", u)
	}
	b.must(w.SetUnit(ctx, task.UnitRef{Name: "mine@a.service"}, task.UnitChange{Enable: ptr(true), Action: task.UnitStart}))
	if u := unit("mine@a.service"); u.Enabled != "enabled" || u.Active != "active" {
		t.Errorf("enabled and started: got %+v", u)
	}
	b.must(w.SetUnit(ctx, task.UnitRef{Name: "ssh.service"}, task.UnitChange{Mask: ptr(true), Action: task.UnitStop}))
	if u := unit("ssh.service"); !u.Masked || u.Enabled != "masked" || u.Active != "inactive" {
		t.Errorf("masked and stopped: got %+v", u)
	}
	if u := unit("later.service"); u.Exists || o.Tentative() != "" {
		t.Errorf("a missing unit: got %+v, tentative %q", u, o.Tentative())
	}
	if err := w.SetUnit(ctx, task.UnitRef{Name: "later.service"}, task.UnitChange{Enable: ptr(true)}); err == nil {
		t.Error("a missing unit was enabled")
	}
	b.must(w.InstallPackages(ctx, []task.PackageSpec{{Name: "holdfast-no-such-package"}}))
	if u := unit("later.service"); !u.Exists || u.Enabled != "enabled" || o.Tentative() == "" {
		t.Errorf("a unit that a package may bring: got %+v, tentative %q", u, o.Tentative())
	}
}

func TestOverlayPredictsTheRest(t *testing.T) {
	b := newBench(t)
	_, w := newOverlay(b)
	b.must(w.SetKernelParam(ctx, "vm.swappiness", " 7 "))
	if got, ok, err := w.KernelParam(ctx, "vm.swappiness"); got != "7" || !ok || err != nil {
		t.Errorf("got %q, %t, %v, want 7", got, ok, err)
	}
	b.must(w.SetLinger(ctx, "nobody", true))
	if on, err := w.Linger(ctx, "nobody"); !on || err != nil {
		t.Errorf("got %t and error %v, want lingering", on, err)
	}
	b.must(w.RefreshPackages(ctx))
	if at, err := w.PackagesRefreshed(ctx); time.Since(at) > time.Minute || err != nil {
		t.Errorf("got %s and error %v, want now", at, err)
	}
	b.must(w.RemovePackages(ctx, []string{"dpkg"}, false))
	if p, err := w.Package(ctx, "dpkg"); p.Installed || !p.Config || err != nil {
		t.Errorf("got %+v and error %v, want that configuration is left", p, err)
	}
	if b.m.Spawned() != 0 {
		t.Errorf("got %d processes, want none", b.m.Spawned())
	}
}
