package apt_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/runner/host/apt"
)

const fixture = "testdata/root"

func TestStatusOfEachState(t *testing.T) {
	sys := apt.At(fixture)
	for _, c := range []struct {
		name string
		want apt.Info
	}{
		{"bash", apt.Info{Arch: "amd64", Version: "5.2.15-2+b7", Installed: true}},
		{"libc6", apt.Info{Arch: "amd64", Version: "2.36-9+deb12u10", Installed: true}},
		{"libc6:i386", apt.Info{Arch: "i386", Version: "2.36-9+deb12u9", Installed: true}},
		{"libc6:native", apt.Info{Arch: "amd64", Version: "2.36-9+deb12u10", Installed: true}},
		{"wine32", apt.Info{}},
		{"wine32:i386", apt.Info{Arch: "i386", Version: "8.0-1", Installed: true}},
		{"tzdata", apt.Info{Arch: "all", Version: "2024a-0", Installed: true, Held: true}},
		{"nginx", apt.Info{Arch: "amd64", Config: true}},
		{"cron", apt.Info{Arch: "amd64", Version: "3.0pl1-162", Broken: true}},
		{"rsyslog", apt.Info{Arch: "amd64", Version: "8.2302.0-1", Broken: true}},
		{"man-db", apt.Info{Arch: "amd64", Version: "2.11.2-2", Installed: true}},
		{"torn", apt.Info{Arch: "amd64", Version: "1.0", Broken: true}},
		{"mail-transport-agent", apt.Info{Installed: true, ProvidedBy: "postfix"}},
		{"default-mta", apt.Info{Installed: true, ProvidedBy: "postfix", Version: "3.7.11-0"}},
		{"postfix-sqlite", apt.Info{Installed: true, ProvidedBy: "postfix"}},
		{"exim4", apt.Info{Arch: "amd64", Config: true}},
		{"cron-daemon", apt.Info{}},
		{"gone", apt.Info{Arch: "amd64"}},
		{"not-a-package", apt.Info{}},
		{"never-heard-of", apt.Info{}},
	} {
		c.want.Name = c.name
		got, err := sys.Status(c.name)
		if err != nil || got != c.want {
			t.Errorf("Status(%q) = %+v, %v; want %+v", c.name, got, err, c.want)
		}
	}
}

func TestSnapshotKeepsArchitecturesApart(t *testing.T) {
	got, err := apt.At(fixture).Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"bash": "5.2.15-2+b7", "libc6": "2.36-9+deb12u10", "libc6:i386": "2.36-9+deb12u9", "wine32:i386": "8.0-1",
		"tzdata": "2024a-0", "cron": "3.0pl1-162", "rsyslog": "8.2302.0-1", "man-db": "2.11.2-2", "torn": "1.0",
		"postfix": "3.7.11-0",
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("Snapshot()[%q] = %q, want %q", k, got[k], v)
		}
	}
	if len(got) != len(want) {
		t.Errorf("Snapshot() has %d packages, want %d: %v", len(got), len(want), got)
	}
}

func TestConffilesOfAPackage(t *testing.T) {
	got, err := apt.At(fixture).Conffiles("bash")
	if err != nil || len(got) != 3 || got[0] != (apt.Conffile{Path: "/etc/bash.bashrc", MD5: "89269e1298235f1b12b4c16e4065ad0d"}) {
		t.Errorf("Conffiles(bash) = %v, %v; want three, the first /etc/bash.bashrc", got, err)
	}
}

// place makes a root with the fixture's status file.
func place(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, f := range []string{"var/lib/dpkg/status", "var/lib/dpkg/arch"} {
		data, err := os.ReadFile(filepath.Join(fixture, f))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(root, f), string(data))
	}
	write(t, filepath.Join(root, "var/lib/apt/lists/mirror_InRelease"), "")
	return root
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestDatabaseIsReadAgainOnlyWhenItChanged(t *testing.T) {
	root := place(t)
	sys := apt.At(root)
	for range 3 {
		if _, err := sys.Status("bash"); err != nil {
			t.Fatal(err)
		}
	}
	if n := sys.Parsed(); n != 1 {
		t.Errorf("three looks parsed the file %d times, want 1", n)
	}
	// As dpkg does it: another file takes the name.
	write(t, filepath.Join(root, "var/lib/dpkg/status-new"), "Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 6\n")
	if err := os.Rename(filepath.Join(root, "var/lib/dpkg/status-new"), filepath.Join(root, "var/lib/dpkg/status")); err != nil {
		t.Fatal(err)
	}
	if got, err := sys.Status("bash"); err != nil || got.Version != "6" {
		t.Errorf("after the change Status(bash) = %+v, %v; want version 6", got, err)
	}
}

func TestUpdatesOfAnInterruptedRunCount(t *testing.T) {
	root := place(t)
	sys := apt.At(root)
	stanza := func(state string) string {
		return "Package: jq\nStatus: install ok " + state + "\nArchitecture: amd64\nVersion: 1.6-2.1\n"
	}
	write(t, filepath.Join(root, "var/lib/dpkg/updates/0001"), stanza("unpacked"))
	write(t, filepath.Join(root, "var/lib/dpkg/updates/tmp.i"), stanza("installed"))
	got, err := sys.Status("jq")
	if err != nil || !got.Broken || got.Installed {
		t.Errorf("Status(jq) = %+v, %v; want broken", got, err)
	}
	write(t, filepath.Join(root, "var/lib/dpkg/updates/0002"), stanza("installed"))
	if got, err = sys.Status("jq"); err != nil || !got.Installed || got.Broken {
		t.Errorf("Status(jq) = %+v, %v; want installed", got, err)
	}
	if cut, err := sys.Interrupted(); err != nil || !cut {
		t.Errorf("Interrupted() = %v, %v; want true", cut, err)
	}
}

func TestInterruptedSeesHalfConfiguredPackages(t *testing.T) {
	root := t.TempDir()
	sys := apt.At(root)
	for state, want := range map[string]bool{
		"installed": false, "config-files": false, "unpacked": true, "half-configured": true, "triggers-pending": true,
	} {
		write(t, filepath.Join(root, "var/lib/dpkg/status"), "Package: jq\nStatus: install ok "+state+"\nArchitecture: amd64\nVersion: 1\n")
		if got, err := sys.Interrupted(); err != nil || got != want {
			t.Errorf("Interrupted() with a package %s = %v, %v; want %v", state, got, err, want)
		}
	}
}

func TestOtherSystemsAreNamed(t *testing.T) {
	_, err := apt.At(t.TempDir()).Status("bash")
	if err == nil || !strings.Contains(err.Error(), "not a Debian system") {
		t.Errorf("Status without a database = %v, want an error that names the reason", err)
	}
}

// TestThisMachine compares with dpkg-query where there is one; it changes nothing.
func TestThisMachine(t *testing.T) {
	out, err := exec.Command("dpkg-query", "-W", "-f", "${binary:Package} ${Version} ${db:Status-Status} ${Architecture}\n").Output()
	if err != nil {
		if _, missing := os.Stat("/var/lib/dpkg/status"); missing == nil {
			t.Fatalf("dpkg-query: %v", err)
		}
		return
	}
	snapshot, err := apt.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	installed := 0
	for _, line := range bytes.Split(bytes.TrimSpace(out), []byte("\n")) {
		w := strings.Fields(string(line))
		if len(w) != 4 || w[2] != "installed" {
			continue
		}
		installed++
		name, _, _ := strings.Cut(w[0], ":")
		if got, err := apt.Status(name + ":" + w[3]); err != nil || !got.Installed || got.Version != w[1] {
			t.Errorf("Status(%s:%s) = %+v, %v; dpkg-query says %s", name, w[3], got, err, w[1])
		}
	}
	if len(snapshot) < installed {
		t.Errorf("Snapshot has %d packages, dpkg-query %d installed ones", len(snapshot), installed)
	}
}

func TestListsRefreshed(t *testing.T) {
	root := place(t)
	sys := apt.At(root)
	when := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := os.Chtimes(filepath.Join(root, "var/lib/apt/lists"), when, when); err != nil {
		t.Fatal(err)
	}
	if got, err := sys.ListsRefreshed(); err != nil || !got.Equal(when) {
		t.Errorf("ListsRefreshed() = %v, %v; want %v", got, err, when)
	}
	write(t, filepath.Join(root, "var/lib/apt/periodic/update-success-stamp"), "")
	later := when.Add(time.Hour)
	if err := os.Chtimes(filepath.Join(root, "var/lib/apt/periodic/update-success-stamp"), later, later); err != nil {
		t.Fatal(err)
	}
	if got, err := sys.ListsRefreshed(); err != nil || !got.Equal(later) {
		t.Errorf("ListsRefreshed() with a stamp = %v, %v; want %v", got, err, later)
	}
	if err := os.Remove(filepath.Join(root, "var/lib/apt/lists/mirror_InRelease")); err != nil {
		t.Fatal(err)
	}
	if got, err := sys.ListsRefreshed(); err != nil || !got.IsZero() {
		t.Errorf("ListsRefreshed() without lists = %v, %v; want never", got, err)
	}
}

func TestCompareVersions(t *testing.T) {
	ordered := []string{"1.0~rc1", "1.0~rc1-1", "1.0", "1.0-0+b1", "1.0-1", "1.0-1+deb12u1", "1.0-1+deb12u9", "1.0-1+deb12u10", "1.0a", "1.0+x", "1.00.1", "1.2", "1.10", "1:0.1", "2:0"}
	for i, a := range ordered {
		for j, b := range ordered {
			got := apt.CompareVersions(a, b)
			if (i < j) != (got < 0) || (i == j) != (got == 0) {
				t.Errorf("CompareVersions(%q, %q) = %d, want the sign of %d", a, b, got, i-j)
			}
		}
	}
	if got := apt.CompareVersions("0:1.0-0", "1.0"); got != 0 {
		t.Errorf("CompareVersions of a zero epoch and revision = %d, want 0", got)
	}
}

func BenchmarkParseThisMachine(b *testing.B) {
	for range b.N {
		if _, err := apt.At("/").Snapshot(); err != nil {
			b.Fatal(err)
		}
	}
}
