package faults_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// cases is how many faults the table has to answer for.
const cases = 62

var quoted = regexp.MustCompile("`([^`]+)`")

// TestTable holds the table in README.md to what there is: every case has a row, every
// row says what must come out, and names proofs that exist or why there is none.
func TestTable(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	next := 1
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) < 2 {
			continue
		}
		if _, err := strconv.Atoi(strings.TrimSpace(cells[1])); err != nil {
			continue // the head
		}
		if len(cells) != 6 || strings.TrimSpace(cells[1]) != strconv.Itoa(next) {
			t.Fatalf("got the row %q, want case %d with a name, an outcome and proofs", line, next)
		}
		for _, cell := range cells[2:5] {
			if len(strings.TrimSpace(cell)) < 4 {
				t.Errorf("case %d has an empty cell", next)
			}
		}
		proofs := quoted.FindAllStringSubmatch(cells[4], -1)
		if len(proofs) == 0 && !strings.Contains(cells[4], "left out: ") {
			t.Errorf("case %d names neither a proof nor why it is left out", next)
		}
		for _, proof := range proofs {
			if why := lacks(proof[1]); why != "" {
				t.Errorf("case %d: %s: %s", next, proof[1], why)
			}
		}
		next++
	}
	if next-1 != cases {
		t.Errorf("got %d cases, want %d", next-1, cases)
	}
}

// lacks says what of a proof does not exist: a script, or a folder, a test in it and
// perhaps a part of that test.
func lacks(proof string) string {
	root := filepath.Join("..", "..")
	folder, name, isTest := strings.Cut(proof, " ")
	if !isTest {
		if _, err := os.Stat(filepath.Join(root, proof)); err != nil {
			return err.Error()
		}
		return ""
	}
	files, err := filepath.Glob(filepath.Join(root, folder, "*_test.go"))
	if err != nil || len(files) == 0 {
		return "no tests in that folder"
	}
	var source strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err.Error()
		}
		source.Write(text)
	}
	name, part, _ := strings.Cut(name, "/")
	if !strings.Contains(source.String(), "func "+name+"(") {
		return "no such test"
	}
	if part != "" && !strings.Contains(source.String(), strconv.Quote(part)) {
		return "no such part of the test"
	}
	return ""
}

// TestProofsThatAreMissing: the table's check finds what does not exist.
func TestProofsThatAreMissing(t *testing.T) {
	for _, proof := range []string{
		"testscripts/transport/nosuch.txtar", "testscripts/nosuch TestLockOut", "testscripts/faults TestNoSuch",
		"testscripts/faults TestLockOut/no such part " + "of it",
	} {
		if lacks(proof) == "" {
			t.Errorf("%s is said to exist", proof)
		}
	}
	for _, proof := range []string{"testscripts/transport/noexec.txtar", "testscripts/faults TestLockOut", "testscripts/faults TestLockOut/key removed"} {
		if why := lacks(proof); why != "" {
			t.Errorf("%s: %s", proof, why)
		}
	}
}
