package apt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"
)

// environment keeps apt, dpkg, debconf, ucf and needrestart from asking anything
// and from restarting services behind our back.
var environment = []string{
	"DEBIAN_FRONTEND=noninteractive", "DEBCONF_NONINTERACTIVE_SEEN=true",
	"APT_LISTCHANGES_FRONTEND=none", "NEEDRESTART_MODE=l", "UCF_FORCE_CONFFOLD=1",
	"LC_ALL=C.UTF-8", "LANGUAGE=C",
}

// options go before every apt-get command. The time limits end a mirror that
// answers nothing: apt-get itself is never stopped from outside.
var options = []string{
	"apt-get", "-y", "-q",
	"-o", "DPkg::Lock::Timeout=600",
	"-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold",
	"-o", "Dpkg::Use-Pty=0", "-o", "Acquire::Retries=3",
	"-o", "Acquire::http::Timeout=30", "-o", "Acquire::https::Timeout=30",
}

func aptGet(args ...string) []string { return append(append([]string{}, options...), args...) }

// Refresh: see the function of the same name.
func (s *System) Refresh(ctx context.Context, run Runner, progress func(string)) error {
	c := newChange(run, progress)
	if err := s.ready(ctx, c, false); err != nil {
		return fmt.Errorf("cannot refresh the package lists: %w", err)
	}
	before, err := s.ListsRefreshed()
	if err != nil {
		return err
	}
	// Without this option apt-get calls it a success when a source is unreachable.
	argv := aptGet("-o", "APT::Update::Error-Mode=any", "update")
	// The folder's time is our record. apt leaves it alone when all lists are
	// current, and touches it when it could not fetch them.
	now := time.Now()
	failed := s.change(ctx, c, argv)
	if failed != nil {
		now = before
	}
	if err := os.Chtimes(s.path("var/lib/apt/lists"), now, now); err != nil && failed == nil {
		return fmt.Errorf("cannot record that the package lists were refreshed: %w", err)
	}
	if failed != nil {
		return fmt.Errorf("cannot refresh the package lists: %w", failed)
	}
	return nil
}

// Install: see the function of the same name.
func (s *System) Install(ctx context.Context, specs []Spec, run Runner, progress func(string)) error {
	c := newChange(run, progress)
	if err := s.ready(ctx, c, true); err != nil {
		return fmt.Errorf("cannot install %s: %w", listSpecs(specs), err)
	}
	args, err := s.installArgs(specs)
	if err != nil || args == nil {
		return err
	}
	if err := s.change(ctx, c, aptGet(args...)); err != nil {
		return fmt.Errorf("cannot install %s: %w", listSpecs(specs), err)
	}
	return nil
}

// Remove: see the function of the same name.
func (s *System) Remove(ctx context.Context, names []string, purge bool, run Runner, progress func(string)) error {
	c := newChange(run, progress)
	if err := s.ready(ctx, c, true); err != nil {
		return fmt.Errorf("cannot remove %s: %w", strings.Join(names, ", "), err)
	}
	args, err := s.removeArgs(names, purge)
	if err != nil || args == nil {
		return err
	}
	if err := s.change(ctx, c, aptGet(args...)); err != nil {
		return fmt.Errorf("cannot remove %s: %w", strings.Join(names, ", "), err)
	}
	return nil
}

// MarkAuto: see the function of the same name.
func (s *System) MarkAuto(ctx context.Context, names []string, auto bool, run Runner) error {
	if len(names) == 0 {
		return nil
	}
	mark := "manual"
	if auto {
		mark = "auto"
	}
	c := newChange(run, nil)
	if err := s.ready(ctx, c, false); err != nil {
		return fmt.Errorf("cannot mark %s as %s: %w", strings.Join(names, ", "), mark, err)
	}
	if err := s.change(ctx, c, append([]string{"apt-mark", mark}, names...)); err != nil {
		return fmt.Errorf("cannot mark %s as %s: %w", strings.Join(names, ", "), mark, err)
	}
	return nil
}

// installArgs leaves out what already is as asked; nil means that all is.
func (s *System) installArgs(specs []Spec) ([]string, error) {
	args := []string{"install"}
	var want []string
	for _, spec := range specs {
		if err := checkName(spec.Name, spec.Version); err != nil {
			return nil, err
		}
		info, err := s.Status(spec.Name)
		if err != nil {
			return nil, err
		}
		switch {
		case spec.Version == "" && info.Installed && !spec.Latest:
			continue
		case spec.Version != "" && info.Installed && info.ProvidedBy == "" && info.Version == spec.Version:
			continue
		case spec.Version == "":
			want = append(want, spec.Name)
			continue
		}
		if info.Version != "" && CompareVersions(spec.Version, info.Version) < 0 {
			args = append(args, "--allow-downgrades")
		}
		if spec.File != "" {
			want = append(want, spec.File)
			continue
		}
		want = append(want, spec.Name+"="+spec.Version)
	}
	if len(want) == 0 {
		return nil, nil
	}
	if slices.ContainsFunc(specs, func(spec Spec) bool { return spec.Lean }) {
		args = append(args, "--no-install-recommends")
	}
	return append(append(args, "--"), want...), nil
}

func (s *System) removeArgs(names []string, purge bool) ([]string, error) {
	verb := "remove"
	if purge {
		verb = "purge"
	}
	var want []string
	for _, name := range names {
		if err := checkName(name, ""); err != nil {
			return nil, err
		}
		info, err := s.Status(name)
		if err != nil {
			return nil, err
		}
		there := info.ProvidedBy == "" && (info.Installed || info.Broken)
		if there || purge && info.Config {
			want = append(want, name)
		}
	}
	if len(want) == 0 {
		return nil, nil
	}
	return append([]string{verb, "--"}, want...), nil
}

// checkName keeps what apt-get would read as something else (a trailing "-" or
// "+", a pattern, a path, a release) out of its arguments. Debian Policy §5.6.1.
func checkName(name, version string) error {
	base, arch, _ := strings.Cut(name, ":")
	const plain = "abcdefghijklmnopqrstuvwxyz0123456789"
	ok := len(base) >= 2 && strings.Contains(plain, base[:1]) &&
		strings.Trim(base, plain+"+-.") == "" && strings.Trim(arch, plain+"-") == "" &&
		!strings.HasSuffix(base, "-")
	if !ok {
		return fmt.Errorf("cannot use %q as a package name: a name has lower-case letters, digits, '+', '-' and '.'", name)
	}
	if strings.Trim(version, plain+"ABCDEFGHIJKLMNOPQRSTUVWXYZ.+-:~") != "" {
		return fmt.Errorf("cannot use %q as a version of %s: a version has letters, digits and . + - : ~", version, name)
	}
	return nil
}

func listSpecs(specs []Spec) string {
	var out []string
	for _, s := range specs {
		if s.Version != "" {
			out = append(out, s.Name+" "+s.Version)
			continue
		}
		out = append(out, s.Name)
	}
	return strings.Join(out, ", ")
}

// ready waits until packages can be worked on and, when asked, finishes what an
// interrupted dpkg left.
func (s *System) ready(ctx context.Context, c *change, repair bool) error {
	if err := s.waitFirstBoot(ctx, c.say); err != nil {
		return err
	}
	if err := s.waitLocks(ctx, c.say); err != nil {
		return err
	}
	if !repair {
		return ctx.Err()
	}
	broken, err := s.Interrupted()
	if err != nil || !broken {
		return errors.Join(err, ctx.Err())
	}
	c.say("an earlier dpkg run was interrupted: finishing it with dpkg --configure -a")
	argv := []string{"dpkg", "--force-confdef", "--force-confold", "--configure", "-a"}
	var failed *Failed
	if err := s.change(ctx, c, argv); errors.As(err, &failed) {
		// What is asked for next may be the very removal of what cannot be configured.
		c.say("it could not be finished: " + failed.Error())
	} else if err != nil {
		return fmt.Errorf("an earlier dpkg run was interrupted and cannot be finished: %w", err)
	}
	return ctx.Err()
}

// change runs one command to its end. apt-get waits for dpkg's lock by itself but
// not for those of the lists and the archives; who lost that race has changed
// nothing and waits again.
func (s *System) change(ctx context.Context, c *change, argv []string) error {
	deadline := time.Now().Add(lockLimit)
	for {
		status, out, err := c.exec(ctx, argv)
		if err != nil {
			return err
		}
		if status == 0 {
			return nil
		}
		if !lostRace(out) || time.Now().After(deadline) {
			return &Failed{Command: argv[0], Status: status, Reason: reason(out)}
		}
		if err := s.waitLocks(ctx, c.say); err != nil {
			return err
		}
		if err := sleep(ctx, lockPoll); err != nil {
			return err
		}
	}
}

func lostRace(out string) bool {
	return strings.Contains(out, "E: Could not get lock ") ||
		strings.Contains(out, "dpkg: error: dpkg frontend lock was locked by another process") ||
		strings.Contains(out, "dpkg: error: dpkg database lock was locked by another process")
}

// change is one call from outside: the runner and who is told.
type change struct {
	run  Runner
	mu   sync.Mutex
	tell func(string)
}

func newChange(run Runner, progress func(string)) *change {
	if progress == nil {
		progress = func(string) {}
	}
	return &change{run: run, tell: progress}
}

func (c *change) say(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tell(text)
}

// exec runs the command under a context that cannot be cancelled, and tells who
// cancels that it goes on.
func (c *change) exec(ctx context.Context, argv []string) (status int, out string, err error) {
	if err := ctx.Err(); err != nil {
		return 0, "", err
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		select {
		case <-ctx.Done():
			c.say(argv[0] + " is finished first: a package manager is not stopped half-way")
		case <-done:
		}
	}()
	status, out, err = c.run(context.WithoutCancel(ctx), argv, environment, c.line)
	close(done)
	wg.Wait()
	return status, out, err
}

// steps are the beginnings of lines worth showing while apt-get works.
var steps = []string{
	"Get:", "Err:", "Unpacking ", "Setting up ", "Removing ", "Purging ", "Processing triggers ",
	"Waiting for cache lock", "Configuring ",
}

func (c *change) line(text string) {
	text = strings.TrimSpace(text)
	for _, s := range steps {
		if strings.HasPrefix(text, s) {
			c.say(text)
			return
		}
	}
}

// Failed is a package command that ended with an error of its own.
type Failed struct {
	Command string
	Status  int
	Reason  string // what it complained about, one line or several
}

func (e *Failed) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("%s exited with status %d", e.Command, e.Status)
	}
	return e.Reason
}

const reasonLines = 12

// reason picks what matters out of apt-get's output: its own errors, and, when a
// package's script broke, the lines before them.
func reason(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var complaints []string
	script := false
	for _, l := range lines {
		l = strings.TrimSpace(l)
		if strings.HasPrefix(l, "E: Sub-process ") || strings.HasPrefix(l, "dpkg: error") {
			script = true
		}
		if text, ok := strings.CutPrefix(l, "E: "); ok {
			complaints = append(complaints, text)
		}
	}
	if script || len(complaints) == 0 {
		if len(lines) > reasonLines {
			lines = lines[len(lines)-reasonLines:]
		}
		return strings.Join(lines, "\n")
	}
	return strings.Join(unique(complaints), "; ")
}

func unique(in []string) []string {
	seen := map[string]bool{}
	var out []string
	for _, s := range in {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

func sortActions(a []Action) {
	sort.SliceStable(a, func(i, j int) bool { return a[i].Name < a[j].Name })
}
