package testscripts_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// command is one command of scripts. run returns errMisuse when it is used wrongly,
// which fails the script whether or not a ! stands in front; any other error is
// the failure that ! asks for.
type command struct {
	name      string
	usage     string
	does      string
	negatable bool
	run       func(ts *testscript.TestScript, args []string) error
}

// commands are all of ours. README.md is made of them.
var commands = []command{
	{"await", "file [text]", "waits up to 20 s until the file is there, or has the text in it", false, runAwait},
	{"events", "[-count n] 'path=value path~regexp path' file", "holds for at least one event, or for n, of a file of JSON lines; a path alone means that something is there", true, runEvents},
	{"exits", "status program [arg...]", "runs a program that must end with the status", false, runExits},
	{"fakecmd", "name [status]", "makes a program that notes its arguments in $WORK/name.log, prints $WORK/name.out and ends with the status; it is found before others, here and on hosts that start later", false, runFakecmd},
	{"gone", "pidfile", "waits up to 5 s until the process whose number is in the file has ended", false, runGone},
	{"hosts", "name...", "writes inventory.yml for servers that were started", false, runHosts},
	{"mode", "octal file", "checks the permission bits of a file", true, runMode},
	{"sshd", sshdUsage, "starts an SSH server whose host lives in $WORK/hosts/name as an unprivileged account; sets $ADDR_name and writes known_hosts", false, runSSHD},
	{"tree", "dir", "prints mode, size and digest of everything below a folder, sorted", false, runTree},
	{"untimed", "", "prints stdout again without what differs from run to run: times, durations, runs, addresses, the work folder", false, runUntimed},
}

var errMisuse = errors.New("misuse")

func misuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errMisuse, fmt.Sprintf(format, args...))
}

// scriptCommands turns the table into what testscript wants.
func scriptCommands(table []command) map[string]func(*testscript.TestScript, bool, []string) {
	out := map[string]func(*testscript.TestScript, bool, []string){}
	for _, c := range table {
		out[c.name] = func(ts *testscript.TestScript, neg bool, args []string) {
			if neg && !c.negatable {
				ts.Fatalf("%s: cannot stand behind !", c.name)
			}
			if fatal := judge(c, neg, c.run(ts, args)); fatal != "" {
				ts.Fatalf("%s", fatal)
			}
		}
	}
	return out
}

// judge returns why the script fails, or "".
func judge(c command, neg bool, err error) string {
	switch {
	case errors.Is(err, errMisuse):
		return fmt.Sprintf("%s: %v\nusage: %s %s", c.name, err, c.name, c.usage)
	case neg && err == nil:
		return fmt.Sprintf("%s: holds, and must not", c.name)
	case !neg && err != nil:
		return fmt.Sprintf("%s: %v", c.name, err)
	}
	return ""
}

func TestMisuseFailsBehindNegation(t *testing.T) {
	c := command{name: "x", negatable: true}
	if judge(c, true, misuse("no")) == "" || judge(c, false, misuse("no")) == "" {
		t.Error("a misused command must fail with and without !")
	}
	if judge(c, true, errors.New("no")) != "" || judge(c, true, nil) == "" {
		t.Error("! must turn failure and success around")
	}
}

func runAwait(ts *testscript.TestScript, args []string) error {
	if len(args) < 1 || len(args) > 2 {
		return misuse("want a file, and what is in it")
	}
	file := ts.MkAbs(args[0])
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if len(args) == 1 {
			if _, err := os.Lstat(file); err == nil {
				return nil
			}
		} else if text, err := os.ReadFile(file); err == nil && strings.Contains(string(text), args[1]) {
			return nil
		}
	}
	return fmt.Errorf("%s did not appear", strings.Join(args, ": "))
}

func runExits(ts *testscript.TestScript, args []string) error {
	if len(args) < 2 {
		return misuse("want a status and a program")
	}
	want, err := strconv.Atoi(args[0])
	if err != nil {
		return misuse("%q is not a status", args[0])
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var ended *exec.ExitError
		if !errors.As(err, &ended) {
			return err
		}
		got = ended.ExitCode()
	}
	if got != want {
		return fmt.Errorf("got status %d, want %d", got, want)
	}
	return nil
}

func runFakecmd(ts *testscript.TestScript, args []string) error {
	status := 0
	if len(args) == 2 {
		n, err := strconv.Atoi(args[1])
		if err != nil {
			return misuse("%q is not a status", args[1])
		}
		status = n
	}
	if len(args) < 1 || len(args) > 2 || strings.ContainsAny(args[0], "/ ") {
		return misuse("want a name and perhaps a status")
	}
	work := ts.Getenv("WORK")
	bin := filepath.Join(work, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	text := fmt.Sprintf("#!/bin/sh\nprintf '%%s\\n' \"$*\" >>'%s/%s.log'\ncat '%s/%s.out' 2>/dev/null\nexit %d\n", work, args[0], work, args[0], status)
	return os.WriteFile(filepath.Join(bin, args[0]), []byte(text), 0o755)
}

func runGone(ts *testscript.TestScript, args []string) error {
	if len(args) != 1 {
		return misuse("want one file")
	}
	pid := strings.TrimSpace(ts.ReadFile(args[0]))
	if _, err := strconv.Atoi(pid); err != nil {
		return misuse("%q is not the number of a process", pid)
	}
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		// One that ended and that nobody took notice of is gone, too: proc(5).
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return nil
		}
	}
	return fmt.Errorf("process %s still runs", pid)
}

func runMode(ts *testscript.TestScript, args []string) error {
	if len(args) != 2 {
		return misuse("want a mode and a file")
	}
	want, err := strconv.ParseUint(args[0], 8, 12)
	if err != nil {
		return misuse("%q is not octal", args[0])
	}
	info, err := os.Lstat(ts.MkAbs(args[1]))
	if err != nil {
		return misuse("%v", err)
	}
	if got := octal(info.Mode()); got != uint32(want) {
		return fmt.Errorf("%s: got mode %04o, want %04o", args[1], got, want)
	}
	return nil
}

// octal returns the twelve bits that chmod knows.
func octal(m fs.FileMode) uint32 {
	out := uint32(m.Perm())
	for bit, value := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if m&bit != 0 {
			out |= value
		}
	}
	return out
}

func runTree(ts *testscript.TestScript, args []string) error {
	if len(args) != 1 {
		return misuse("want one folder")
	}
	root := ts.MkAbs(args[0])
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		line, err := treeLine(path, name)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(ts.Stdout(), line)
		return err
	})
}

func treeLine(path, name string) (string, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	switch {
	case info.IsDir():
		return fmt.Sprintf("%04o %s/", octal(info.Mode()), name), nil
	case info.Mode()&fs.ModeSymlink != 0:
		to, err := os.Readlink(path)
		return fmt.Sprintf("link %s -> %s", name, to), err
	case !info.Mode().IsRegular():
		return fmt.Sprintf("%s %s", info.Mode().Type(), name), nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%04o %s %d %.12s", octal(info.Mode()), name, len(data), fmt.Sprintf("%x", sha256.Sum256(data))), nil
}

func runEvents(ts *testscript.TestScript, args []string) error {
	flags := flag.NewFlagSet("events", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	want := flags.Int("count", 0, "")
	if err := flags.Parse(args); err != nil || flags.NArg() != 2 {
		return misuse("want conditions and a file")
	}
	conds, err := parseConditions(flags.Arg(0))
	if err != nil {
		return err
	}
	got := 0
	for i, line := range strings.Split(strings.TrimSpace(ts.ReadFile(flags.Arg(1))), "\n") {
		var event any
		dec := json.NewDecoder(strings.NewReader(line))
		dec.UseNumber()
		if err := dec.Decode(&event); err != nil {
			return misuse("line %d is not JSON: %v", i+1, err)
		}
		if conds.hold(event) {
			got++
		}
	}
	switch {
	case *want > 0 && got != *want:
		return fmt.Errorf("%d events, want %d", got, *want)
	case got == 0:
		return errors.New("no event is like this")
	}
	return nil
}

// eventCondition compares what is at a dotted path of an event with a text.
type eventCondition struct {
	path  []string
	op    string // "=", "~", or "" for being there
	value string
	match *regexp.Regexp
}

type eventConditions []eventCondition

var conditionForm = regexp.MustCompile(`^([a-z_0-9.]+)(?:(=|~)(.*))?$`)

// parseConditions reads conditions that are separated by blanks. A blank within a
// value is written as \s.
func parseConditions(text string) (eventConditions, error) {
	var out eventConditions
	for _, word := range strings.Fields(text) {
		m := conditionForm.FindStringSubmatch(word)
		if m == nil {
			return nil, misuse("%q is not a condition", word)
		}
		c := eventCondition{path: strings.Split(m[1], "."), op: m[2], value: m[3]}
		switch c.op {
		case "=":
			c.value = strings.ReplaceAll(c.value, `\s`, " ")
		case "~":
			var err error
			if c.match, err = regexp.Compile(c.value); err != nil {
				return nil, misuse("%v", err)
			}
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, misuse("want a condition")
	}
	return out, nil
}

func (cs eventConditions) hold(event any) bool {
	for _, c := range cs {
		if !c.holds(event, c.path) {
			return false
		}
	}
	return true
}

// holds follows the path; a list holds what any of its elements holds.
func (c *eventCondition) holds(v any, path []string) bool {
	if list, ok := v.([]any); ok {
		for _, item := range list {
			if c.holds(item, path) {
				return true
			}
		}
		return false
	}
	if len(path) > 0 {
		m, ok := v.(map[string]any)
		if !ok {
			return false
		}
		next, ok := m[path[0]]
		return ok && c.holds(next, path[1:])
	}
	text := fmt.Sprint(v)
	switch c.op {
	case "=":
		return text == c.value
	case "~":
		return c.match.MatchString(text)
	}
	return true
}

// varying is what differs from run to run, and what stands for it.
var varying = []struct {
	find    *regexp.Regexp
	replace string
}{
	{regexp.MustCompile(`\b\d{8}-\d{6}-[0-9a-f]{8}\b`), "RUN"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "ADDR"},
	{regexp.MustCompile(`"(time|since|started)":"[^"]*"`), `"$1":"TIME"`},
	{regexp.MustCompile(`"(duration|took|bytes_up|bytes_down|bytes)":\d+`), `"$1":0`},
	{regexp.MustCompile(`\bhelper pushed \([^)]*\)`), "helper pushed"},
	{regexp.MustCompile(`\b(in|up to) \d[\d.]* (ms|s|m \d+ s)\b`), "$1 T"},
	{regexp.MustCompile(`  \d[\d.]* (ms|s|m \d+ s)\b`), "  T"},
	{regexp.MustCompile(`(Debian GNU/Linux|Ubuntu) [0-9.]+( LTS)?( \([a-z]+\))?`), "OS"},
}

func runUntimed(ts *testscript.TestScript, args []string) error {
	if len(args) != 0 {
		return misuse("want no arguments")
	}
	text := strings.ReplaceAll(ts.ReadFile("stdout"), ts.Getenv("WORK"), "$WORK")
	for _, v := range varying {
		text = v.find.ReplaceAllString(text, v.replace)
	}
	_, err := io.WriteString(ts.Stdout(), text)
	return err
}

// readme returns README.md as the table says.
func readme() string {
	var b strings.Builder
	b.WriteString(`# Scripts

Every folder holds scripts for [testscript](https://pkg.go.dev/github.com/rogpeppe/go-internal/testscript), which start
` + "`holdfast`" + ` as a user does. Servers run in the test's own process; what they run, runs for real, as an unprivileged
account below ` + "`$WORK/hosts`" + `, so that nothing of this machine is touched.

| folder | for |
|---|---|
| cli | commands, flags, every exit status |
| lang | one script for each kind of fault; whole messages with places |
| play | when, each, register, handlers, blocks, secrets, undo |
| tasks | one for each module, named like it: plan, apply, apply again, undo |
| transport | pushing the helper, odd logins, lost connections, hostile targets |
| regress | what broke once, named by what broke |
| hosts | what needs a real host; ` + "`go test -tags hosts ./testscripts`" + ` boots some, needs root, and fails without |

` + "`go test ./testscripts -run /play/undo`" + ` runs one. ` + "`UPDATE_SCRIPTS=1`" + ` rewrites golden parts and this file.

Three folders hold tests in Go: acceptance (promises on real hosts), faults (what breaks on real hosts; its README.md has
all cases, their outcomes and their proofs) and property (random programs and faults; ` + "`HOLDFAST_SEED`" + ` plays one again).

## Commands

Beside testscript's own. A command that is used wrongly fails the script, behind ` + "`!`" + ` too.

| command | does | ` + "`!`" + ` |
|---|---|---|
`)
	for _, c := range commands {
		b.WriteString(c.row())
	}
	b.WriteString("\nScripts in hosts/ have these too:\n\n| command | does | `!` |\n|---|---|---|\n")
	for _, c := range hostCommands {
		b.WriteString(c.row())
	}
	b.WriteString("\n## Conditions\n\nBeside testscript's own: ")
	for i, c := range conditions {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("`[" + c + "]`")
	}
	b.WriteString(".\n")
	return b.String()
}

// row is the command's line in README.md.
func (c command) row() string {
	not := ""
	if c.negatable {
		not = "yes"
	}
	return fmt.Sprintf("| `%s` | %s | %s |\n", strings.ReplaceAll(strings.TrimSpace(c.name+" "+c.usage), "|", `\|`), c.does, not)
}

func TestReadme(t *testing.T) {
	want := []byte(readme())
	if updating() {
		if err := os.WriteFile("README.md", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile("README.md")
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("README.md is not what the table of commands says (%v): UPDATE_SCRIPTS=1 go test ./testscripts -run TestReadme", err)
	}
}
