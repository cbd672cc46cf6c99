package playbooks_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"holdfast/playbooks"
	"holdfast/playbooks/source/yamlfile"
)

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func playbook(name, version string) string {
	return "playbook: " + name + "\nversion: " + version + "\nsummary: From " + version + ".\ntasks: []\n"
}

// finder makes a project and a user's folder with playbooks.
func finder(t *testing.T) (f playbooks.Finder, project, user string) {
	t.Helper()
	dir := t.TempDir()
	project, user = filepath.Join(dir, "project"), filepath.Join(dir, "user")
	write(t, project+"/playbooks/both/playbook.yml", playbook("both", "1.0.0"))
	write(t, project+"/playbooks/flat.yml", playbook("flat", "1.0.1"))
	write(t, project+"/playbooks/twice/playbook.yml", playbook("twice", "1.0.2"))
	write(t, project+"/playbooks/twice.yml", playbook("twice", "9.9.9"))
	write(t, project+"/playbooks/notes/readme.txt", "no playbook here")
	write(t, project+"/playbooks/broken.yml", "a: [")
	write(t, user+"/both/playbook.yml", playbook("both", "2.0.0"))
	write(t, user+"/mine.yml", playbook("mine", "2.0.1"))
	write(t, user+"/baseline.yml", playbook("baseline", "2.0.2"))
	write(t, user+"/flat/none.txt", "a folder without a playbook hides nothing")
	return playbooks.Finder{Project: project, User: user, Modules: []string{"file"}}, project, user
}

func TestFindInOrder(t *testing.T) {
	f, project, user := finder(t)
	tests := []struct {
		name, version, origin, file string
	}{
		{"both", "1.0.0", playbooks.OriginProject, project + "/playbooks/both/playbook.yml"},
		{"flat", "1.0.1", playbooks.OriginProject, project + "/playbooks/flat.yml"},
		{"twice", "1.0.2", playbooks.OriginProject, project + "/playbooks/twice/playbook.yml"},
		{"mine", "2.0.1", playbooks.OriginUser, user + "/mine.yml"},
		{"baseline", "2.0.2", playbooks.OriginUser, user + "/baseline.yml"},
		{user + "/mine.yml", "2.0.1", user + "/mine.yml", user + "/mine.yml"},
		{user + "/both", "2.0.0", user + "/both", user + "/both/playbook.yml"},
		{user + "/both/", "2.0.0", user + "/both/", user + "/both/playbook.yml"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pb, faults := f.Find(tt.name)
			if len(faults) > 0 {
				t.Fatal(faults)
			}
			if pb.Version != tt.version || pb.Origin != tt.origin || pb.File != tt.file || len(pb.Digest) != 64 {
				t.Errorf("got %s from %s, %s; want %s from %s, %s", pb.Version, pb.Origin, pb.File, tt.version, tt.origin, tt.file)
			}
		})
	}
	library := playbooks.Finder{Project: t.TempDir(), User: filepath.Join(t.TempDir(), "none"), Modules: f.Modules}
	pb, _ := library.Find("baseline")
	if pb == nil || pb.Origin != playbooks.OriginLibrary || pb.File != "library/baseline/playbook.yml" {
		t.Errorf("the library: got %+v", pb)
	}
}

func TestFindHere(t *testing.T) {
	f, project, _ := finder(t)
	t.Chdir(project + "/playbooks/both")
	for _, name := range []string{".", "./playbook.yml", "playbook.yml", "../both"} {
		if pb, faults := f.Find(name); len(faults) > 0 || pb.Version != "1.0.0" || pb.Origin != name {
			t.Errorf("Find(%q) = %+v, %v", name, pb, faults)
		}
	}
}

func TestFindFaults(t *testing.T) {
	f, project, user := finder(t)
	write(t, user+"/large.yml", "# "+strings.Repeat("x", yamlfile.MaxSize))
	if err := syscall.Mkfifo(user+"/pipe.yml", 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, want string
	}{
		{"bothh", "no playbook is called \"bothh\"\n\thint: did you mean \"both\"?"},
		{"zzzzzz", "no playbook is called \"zzzzzz\"\n\thint: 'holdfast playbooks list' shows those that there are; a path needs a slash or .yml"},
		{"", "no playbook is called \"\"\n\thint: 'holdfast playbooks list' shows those that there are; a path needs a slash or .yml"},
		{"notes", "no playbook is called \"notes\"\n\thint: 'holdfast playbooks list' shows those that there are; a path needs a slash or .yml"},
		{"./none.yml", "cannot read the playbook \"./none.yml\": no such file or directory"},
		{project + "/playbooks/notes", "cannot read the playbook " + project + "/playbooks/notes/playbook.yml: no such file or directory"},
		{"large", "cannot read the playbook " + user + "/large.yml: it has 10485762 bytes, more than the 10485760 that are read"},
		{"pipe", "cannot read the playbook " + user + "/pipe.yml: it is not a regular file"},
		{"broken", project + "/playbooks/broken.yml:1:5: the list that starts here is not closed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pb, faults := f.Find(tt.name)
			if pb != nil || len(faults) == 0 || !strings.HasPrefix(faults.Error(), strings.SplitN(tt.want, ":1:5", 2)[0]) {
				t.Errorf("Find(%q) = %v\n got %v\nwant %s", tt.name, pb, faults, tt.want)
			}
		})
	}
}

// What is wrong with a playbook that was found comes with the playbook, so that the
// faults of its tasks can be found too.
func TestFindReadsOn(t *testing.T) {
	f, project, _ := finder(t)
	write(t, project+"/playbooks/bad.yml", "playbook: bad\nversion: one\ntasks:\n  - flie: {}\n")
	pb, faults := f.Find("bad")
	if pb == nil || len(faults) != 2 || !strings.Contains(faults.Error(), `did you mean "file"?`) {
		t.Errorf("got %v, %v", pb, faults)
	}
}

func TestList(t *testing.T) {
	f, _, user := finder(t)
	if err := os.Symlink(user+"/both", user+"/linked"); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, info := range f.List() {
		if info.Origin != playbooks.OriginLibrary {
			got = append(got, strings.Join([]string{info.Name, info.Origin, info.Version, info.Hides}, "|"))
		}
	}
	want := []string{"baseline|user|2.0.2|library", "both|project|1.0.0|user", "broken|project||", "flat|project|1.0.1|", "linked|user|2.0.0|", "mine|user|2.0.1|", "twice|project|1.0.2|"}
	if !slices.Equal(got, want) {
		t.Errorf("\n got %q\nwant %q", got, want)
	}
	names := func(list []playbooks.Info) (out []string) {
		for _, info := range list {
			out = append(out, info.Name)
		}
		return out
	}
	if list := names(f.List()); !slices.IsSorted(list) {
		t.Errorf("the list is not sorted: %q", list)
	}
	if list := names((playbooks.Finder{Project: "/nonexistent"}).List()); !slices.Contains(list, "baseline") {
		t.Errorf("without a project: got %q", list)
	}
}

// A playbook may be a link, but its files do not lead out of its folder.
func TestLinks(t *testing.T) {
	f, project, _ := finder(t)
	outside := t.TempDir()
	write(t, outside+"/shadow", "root:x")
	write(t, outside+"/shared.yml", playbook("shared", "3.0.0"))
	write(t, outside+"/app/playbook.yml", playbook("app", "3.0.1"))
	write(t, outside+"/app/files/a", "a")
	for to, name := range map[string]string{outside + "/shared.yml": "/shared.yml", outside + "/app": "/app", outside + "/shadow": "/both/leak", "../flat.yml": "/both/up", "playbook.yml": "/both/same"} {
		if err := os.Symlink(to, project+"/playbooks"+name); err != nil {
			t.Fatal(err)
		}
	}
	for name, version := range map[string]string{"shared": "3.0.0", "app": "3.0.1"} {
		if pb, faults := f.Find(name); len(faults) > 0 || pb.Version != version {
			t.Errorf("Find(%q) = %v, %v", name, pb, faults)
		}
	}
	app, _, err := f.Files("app")
	if err != nil {
		t.Fatal(err)
	}
	if data, err := fs.ReadFile(app, "files/a"); err != nil || string(data) != "a" {
		t.Errorf("a file beside a linked playbook: got %q, %v", data, err)
	}
	both, shown, err := f.Files("both")
	if err != nil || shown != project+"/playbooks/both/playbook.yml" {
		t.Fatalf("Files: got %s, %v", shown, err)
	}
	if _, err := fs.ReadFile(both, "same"); err != nil {
		t.Errorf("a link inside of the folder: %v", err)
	}
	for _, name := range []string{"leak", "up", "../flat.yml", "/etc/passwd"} {
		if data, err := fs.ReadFile(both, name); err == nil {
			t.Errorf("%s leads out of the folder to %q", name, data)
		}
		if _, err := fs.Stat(both, name); err == nil {
			t.Errorf("%s can be looked at", name)
		}
	}
	if _, _, err := f.Files("nothing"); err == nil {
		t.Error("Files of nothing: no error")
	}
	if _, err := fs.Sub(both, "../twice"); err == nil {
		t.Error("a folder outside can be entered")
	}
	var pe *fs.PathError
	if _, err := fs.Stat(both, "none"); !errors.As(err, &pe) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is not there: got %v", err)
	}
}
