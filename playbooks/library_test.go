package playbooks_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"holdfast/playbooks"
	"holdfast/runner/load"
	"holdfast/tasks"
)

// The embedded tree is walked, not a list: every shipped playbook has its parts and
// loads without faults.
func TestLibraryLoads(t *testing.T) {
	var modules []string
	for _, m := range tasks.All() {
		modules = append(modules, m.Name)
	}
	f := playbooks.Finder{Modules: modules}
	entries, err := fs.ReadDir(playbooks.Library(), ".")
	if err != nil || len(entries) == 0 {
		t.Fatalf("the library has %d playbooks, %v", len(entries), err)
	}
	for _, e := range entries {
		t.Run(e.Name(), func(t *testing.T) {
			for _, part := range []string{"playbook.yml", "README.md"} {
				if data, err := fs.ReadFile(playbooks.Library(), e.Name()+"/"+part); err != nil || len(data) < 20 {
					t.Errorf("%s: %d bytes, %v", part, len(data), err)
				}
			}
			pb, faults := f.Find(e.Name())
			if pb == nil {
				t.Fatal(faults)
			}
			_, found := load.Compile(pb, load.Options{Modules: tasks.All(), Find: f.Find, Version: "99.0.0"})
			if faults = append(faults, found...); len(faults) > 0 {
				t.Error(faults.Sorted())
			}
			if pb.Name != e.Name() || pb.Version == "" || pb.Summary == "" {
				t.Errorf("got name %q, version %q, summary %q", pb.Name, pb.Version, pb.Summary)
			}
		})
	}
}

// A risk that a line of the scorecard lets be accepted can be accepted in the baseline,
// which writes the file that the scorecard reads.
func TestRisksCanBeAccepted(t *testing.T) {
	scorecard, err := fs.ReadFile(playbooks.Library(), "audit/playbook.yml")
	if err != nil {
		t.Fatal(err)
	}
	pb, faults := playbooks.Finder{}.Find("baseline")
	if pb == nil {
		t.Fatal(faults)
	}
	var known []string
	for _, p := range pb.Params {
		if p.Name == "accepted_risks" {
			known = p.Keys
		}
	}
	asked := regexp.MustCompile(`(?m)^ +settings: \[(.*)\]$`).FindAllSubmatch(scorecard, -1)
	if len(asked) < 10 || len(known) < 30 {
		t.Fatalf("got %d lines with settings and %d risks, which prove nothing", len(asked), len(known))
	}
	for _, line := range asked {
		for _, name := range strings.Split(string(line[1]), ", ") {
			if !slices.Contains(known, name) {
				t.Errorf("the scorecard knows the risk %s, the baseline refuses it", name)
			}
		}
	}
}

// Nothing that lies in the folder on disk may be missing from the program.
func TestLibraryIsWhole(t *testing.T) {
	err := fs.WalkDir(os.DirFS("library"), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		disk, err := os.ReadFile(filepath.Join("library", path))
		if err != nil {
			return err
		}
		if shipped, err := fs.ReadFile(playbooks.Library(), path); err != nil || !bytes.Equal(shipped, disk) {
			t.Errorf("%s is not shipped as it is: %v", path, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// A playbook cannot read another's files, so what two need both have.
func TestCopiesAreTheSame(t *testing.T) {
	for file, names := range map[string][]string{
		"openclaw-2026.9.6-lock.json": {"openclaw", "update-openclaw"},
		"look.js":                     {"restore", "rollback-openclaw"},
	} {
		var first []byte
		for _, name := range names {
			data, err := fs.ReadFile(playbooks.Library(), name+"/files/"+file)
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = data
			}
			if !bytes.Equal(first, data) {
				t.Errorf("%s of %s differs", file, name)
			}
		}
	}
}
