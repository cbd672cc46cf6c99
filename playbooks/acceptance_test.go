package playbooks_test

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"holdfast/playbooks"
)

// acceptanceRow is a row of ACCEPTANCE.md.
type acceptanceRow struct {
	line              int
	number            int
	ask, by, test, at string
}

// acceptanceSection is a section with the rows that it promises.
type acceptanceSection struct {
	title    string
	from, to []int
	open     bool
	rows     []acceptanceRow
}

var (
	sectionRule = regexp.MustCompile(`^## (.+) \(rows ([^;)]+)(; open)?\)$`)
	rangeRule   = regexp.MustCompile(`^(\d+)(?:–(\d+))?$`)
	quotedRule  = regexp.MustCompile("`([^`]+)`")
)

// readAcceptance reads the table and returns what is wrong with its form.
func readAcceptance(text string) (sections []*acceptanceSection, wrong []string) {
	n := 0
	for l := bufio.NewScanner(strings.NewReader(text)); l.Scan(); {
		n++
		line := l.Text()
		bad := func(format string, args ...any) {
			wrong = append(wrong, fmt.Sprintf("line %d: ", n)+fmt.Sprintf(format, args...))
		}
		if strings.HasPrefix(line, "## ") {
			s, why := readSection(line)
			if why != "" {
				bad("%s", why)
			}
			sections = append(sections, s)
			continue
		}
		if len(sections) == 0 || !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") || strings.HasPrefix(line, "| row ") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if len(cells) != 5 {
			bad("%d cells, want 5", len(cells))
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		number, err := strconv.Atoi(cells[0])
		if err != nil {
			bad("%q is no number of a row", cells[0])
			continue
		}
		s := sections[len(sections)-1]
		s.rows = append(s.rows, acceptanceRow{n, number, cells[1], cells[2], cells[3], cells[4]})
	}
	return sections, wrong
}

func readSection(line string) (*acceptanceSection, string) {
	m := sectionRule.FindStringSubmatch(line)
	if m == nil {
		return &acceptanceSection{title: line}, "a section is called ## NAME (rows A–B) or (rows A–B, C–D; open)"
	}
	s := &acceptanceSection{title: m[1], open: m[3] != ""}
	for part := range strings.SplitSeq(m[2], ", ") {
		r := rangeRule.FindStringSubmatch(part)
		if r == nil {
			return s, strconv.Quote(part) + " is no range of rows"
		}
		from, _ := strconv.Atoi(r[1]) // the pattern wants digits
		to := from
		if r[2] != "" {
			to, _ = strconv.Atoi(r[2])
		}
		s.from, s.to = append(s.from, from), append(s.to, to)
	}
	return s, ""
}

// judgeAcceptance says what is wrong with the rows.
func judgeAcceptance(sections []*acceptanceSection, exists func(kind, name string) bool) []string {
	var wrong []string
	seen := map[int]string{}
	for _, s := range sections {
		for _, r := range s.rows {
			bad := func(format string, args ...any) {
				wrong = append(wrong, fmt.Sprintf("line %d, row %d: ", r.line, r.number)+fmt.Sprintf(format, args...))
			}
			if seen[r.number] != "" {
				bad("it is in %q already", seen[r.number])
			}
			seen[r.number] = s.title
			if !s.promises(r.number) {
				bad("it is not among the rows of %q", s.title)
			}
			wrong = append(wrong, judgeRow(r, exists)...)
		}
		for i := range s.from {
			for n := s.from[i]; n <= s.to[i] && !s.open; n++ {
				if seen[n] != s.title {
					wrong = append(wrong, fmt.Sprintf("%q: row %d is missing", s.title, n))
				}
			}
		}
	}
	return wrong
}

func (s *acceptanceSection) promises(n int) bool {
	for i := range s.from {
		if n >= s.from[i] && n <= s.to[i] {
			return true
		}
	}
	return false
}

func judgeRow(r acceptanceRow, exists func(kind, name string) bool) []string {
	var wrong []string
	bad := func(format string, args ...any) {
		wrong = append(wrong, fmt.Sprintf("line %d, row %d: ", r.line, r.number)+fmt.Sprintf(format, args...))
	}
	if r.ask == "" || r.at == "" || !strings.ContainsAny(r.at[:1], "RSXO") {
		bad("want what is asked for, and R, S, X or O with a remark")
	}
	for what, cell := range map[string]string{"playbook": r.by, "test": r.test} {
		names := quotedRule.FindAllStringSubmatch(cell, -1)
		if len(names) == 0 && cell != "-" {
			bad("want the name of a %s in backquotes, or -, got %q", what, cell)
		}
		if cell == "-" && len(r.at) < 12 {
			bad("it has no %s and does not say why", what)
		}
		for _, m := range names {
			if !exists(what, m[1]) {
				bad("there is no %s %q", what, m[1])
			}
		}
	}
	return wrong
}

// inRepository reports whether a playbook, a line of one, or a test is there.
func inRepository(kind, name string) bool {
	if kind == "playbook" {
		pb, line, of := strings.Cut(name, "/")
		data, err := fs.ReadFile(playbooks.Library(), pb+"/playbook.yml")
		return err == nil && (!of || regexp.MustCompile(`(?m)^\s+id: `+regexp.QuoteMeta(line)+`$`).Match(data))
	}
	folder, test, named := strings.Cut(name, ": ")
	if !named {
		info, err := os.Stat(filepath.Join("..", name))
		return err == nil && info.Mode().IsRegular() && strings.HasSuffix(name, ".txtar")
	}
	files, err := filepath.Glob(filepath.Join("..", folder, "*_test.go"))
	return err == nil && slices.ContainsFunc(files, func(file string) bool {
		data, err := os.ReadFile(file)
		return err == nil && strings.Contains(string(data), "\nfunc "+test+"(t *testing.T)")
	})
}

func TestAcceptance(t *testing.T) {
	data, err := os.ReadFile("ACCEPTANCE.md")
	if err != nil {
		t.Fatal(err)
	}
	sections, wrong := readAcceptance(string(data))
	if len(sections) == 0 {
		t.Fatal("ACCEPTANCE.md has no section")
	}
	for _, w := range append(wrong, judgeAcceptance(sections, inRepository)...) {
		t.Errorf("ACCEPTANCE.md: %s", w)
	}
}

// What the table must not get away with.
func TestAcceptanceIsJudged(t *testing.T) {
	exists := func(_, name string) bool { return name == "here" || name == "x: TestHere" }
	row := "| 1 | a | `here` | `x: TestHere` | R |\n"
	for name, tt := range map[string]struct{ text, want string }{
		"whole":                  {"## S (rows 1–1)\n" + row, ""},
		"still open":             {"## S (rows 1–3; open)\n" + row, ""},
		"two ranges":             {"## S (rows 1, 3–4; open)\n" + row, ""},
		"a row is missing":       {"## S (rows 1–2)\n" + row, "row 2 is missing"},
		"a row twice":            {"## S (rows 1–1)\n" + row + row, "it is in \"S\" already"},
		"a row elsewhere too":    {"## S (rows 1–1)\n" + row + "## T (rows 1–1; open)\n" + row, "it is in \"S\" already"},
		"a row too many":         {"## S (rows 2–3; open)\n" + row, "not among the rows"},
		"a test that is not":     {"## S (rows 1–1)\n" + strings.Replace(row, "TestHere", "TestGone", 1), `there is no test "x: TestGone"`},
		"a playbook that is not": {"## S (rows 1–1)\n" + strings.Replace(row, "here", "gone", 1), `there is no playbook "gone"`},
		"no test and no reason":  {"## S (rows 1–1)\n" + strings.Replace(row, "`x: TestHere`", "-", 1), "does not say why"},
		"a name without quotes":  {"## S (rows 1–1)\n" + strings.Replace(row, "`x: TestHere`", "TestHere", 1), "in backquotes"},
		"no verdict":             {"## S (rows 1–1)\n" + strings.Replace(row, "R |", "yes |", 1), "R, S, X or O"},
		"no range":               {"## S\n" + row, "a section is called"},
		"a range of words":       {"## S (rows all)\n" + row, "is no range"},
		"a cell is missing":      {"## S (rows 1–1)\n| 1 | a | `here` | R |\n", "4 cells, want 5"},
	} {
		t.Run(name, func(t *testing.T) {
			sections, wrong := readAcceptance(tt.text)
			got := strings.Join(append(wrong, judgeAcceptance(sections, exists)...), "; ")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("%s: got %q, want %q", tt.text, got, tt.want)
			}
		})
	}
}
