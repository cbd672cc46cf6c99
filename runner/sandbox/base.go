package sandbox

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Base builds the base of a suite, the sandbox's own when empty, unless it is
// there. It takes about half a minute, once; several callers build it once.
func (s *Sandbox) Base(ctx context.Context, suiteName string) error {
	st := s.suite
	if suiteName != "" {
		var err error
		if st, err = findSuite(suiteName); err != nil {
			return err
		}
	}
	_, err := s.base(ctx, st)
	return err
}

// base returns the folder of a suite's base, which it builds when needed.
func (s *Sandbox) base(ctx context.Context, st suite) (string, error) {
	path := s.basePath(st)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	unlock, err := lock(ctx, filepath.Join(s.cache, "base", st.code+".lock"), func() {
		s.say("waiting for another process that builds the base of %s", st.code)
	})
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	s.say("building the base of %s (%s %s), once", st.code, st.distro, st.version)
	if err := s.buildBase(ctx, st, path); err != nil {
		return "", fmt.Errorf("cannot build the base of %s: %w", st.code, err)
	}
	return path, s.prune(ctx, path, st.code)
}

// basePath names a base after what it is made of, so that a base of another
// make is never taken for it, nor pulled away under a running host.
func (s *Sandbox) basePath(st suite) string {
	sum := sha256.New()
	_, _ = fmt.Fprintln(sum, st.code, st.packages(), baseFiles())
	for _, name := range []string{"base.sh", "sysctl.sh", "sandbox-sysctl.service"} {
		sum.Write(script(name))
	}
	return filepath.Join(s.cache, "base", st.code+"-"+hex.EncodeToString(sum.Sum(nil)[:4]))
}

// baseFiles are small settings of every host, by path.
func baseFiles() map[string]string {
	return map[string]string{
		// The periodic jobs of apt would take its lock at moments of their own.
		// The name sorts first, so that any other file overrides it.
		// Translations would be most of an update.
		"etc/apt/apt.conf.d/00sandbox": "APT::Periodic::Enable \"0\";\nAcquire::Languages \"none\";\n",
		// Nothing here has to survive a loss of power.
		"etc/dpkg/dpkg.cfg.d/00sandbox": "force-unsafe-io\n",
	}
}

func (s *Sandbox) buildBase(ctx context.Context, st suite, path string) error {
	parent := filepath.Dir(path)
	// What a killed build left. We have the lock, so nobody builds there now.
	stale, _ := filepath.Glob(filepath.Join(parent, "."+st.code+"-*"))
	for _, old := range stale {
		if err := removeTree(ctx, old); err != nil {
			return err
		}
	}
	work, err := os.MkdirTemp(parent, "."+st.code+"-*")
	if err != nil {
		return err
	}
	defer func() { _ = removeTree(context.WithoutCancel(ctx), work) }()
	_, code := release("/etc/os-release")
	list := sourcesFor(st, machineSources("/"), code)
	if err := s.stage(ctx, filepath.Join(work, "stage"), st, list); err != nil {
		return err
	}
	for name, text := range map[string][]byte{
		sourcesName: []byte(st.reachable(list, work)), "archive.asc": st.ownKey(), "base.sh": script("base.sh"),
	} {
		if err := writeFile(filepath.Join(work, name), text, 0o755); err != nil {
			return err
		}
	}
	env := []string{"STAGE=" + filepath.Join(work, "stage"), "ACCOUNT=" + st.account(), "ARCHIVES=" + s.archives(st.code)}
	if err := s.runBuild(ctx, filepath.Join(parent, st.code+".log"), env, buildCommand(ctx, st, work)); err != nil {
		return err
	}
	root := filepath.Join(work, "root")
	if err := os.Chmod(root, 0o755); err != nil {
		return err
	}
	return os.Rename(root, path)
}

// buildCommand are the arguments of unshare that run mmdebstrap in namespaces of
// its own, so that nothing is left running or mounted when it is killed.
func buildCommand(ctx context.Context, st suite, work string) []string {
	args := []string{
		"--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc", "--",
		"mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory",
		"--skip=cleanup/apt,cleanup/tmp", "--include=" + strings.Join(st.packages(), ","),
		"--dpkgopt=force-unsafe-io", "--customize-hook=" + filepath.Join(work, "base.sh"),
	}
	for line := range strings.Lines(aptSettings(ctx)) {
		args = append(args, "--aptopt="+strings.TrimSuffix(strings.TrimSpace(line), ";"))
	}
	return append(args, st.code, filepath.Join(work, "root"), filepath.Join(work, sourcesName))
}

// sourcesName is the file of apt's sources; mmdebstrap puts "0000" before it.
const sourcesName = "sandbox.list"

func sourceLines(list []source) string {
	var b strings.Builder
	for _, src := range list {
		b.WriteString(src.line() + "\n")
	}
	return b.String()
}

// reachable are the lines of sources with which this machine can build: without
// the distribution's keyring here, the key that we brought stands in for it.
func (st suite) reachable(list []source, work string) string {
	lines := sourceLines(list)
	if _, err := os.Stat(st.keyring()); err == nil || st.ownKey() == nil {
		return lines
	}
	return strings.ReplaceAll(lines, "signed-by="+st.keyring()+"]", "signed-by="+filepath.Join(work, "archive.asc")+"]")
}

// stage collects the files that are copied into the new tree: our settings, and
// what apt and TLS need to work in hosts as they work on this machine.
func (s *Sandbox) stage(ctx context.Context, dir string, st suite, list []source) error {
	files := map[string]string{}
	maps.Copy(files, baseFiles())
	files["etc/apt/apt.conf.d/01sandbox-machine"] = withoutLoopback(aptSettings(ctx))
	files["etc/apt/sources.list.d/0000"+sourcesName] = sourceLines(list)
	files["usr/lib/systemd/system/sandbox-sysctl.service"] = string(script("sandbox-sysctl.service"))
	certificates, _ := filepath.Glob("/usr/local/share/ca-certificates/*.crt")
	for _, path := range certificates {
		files[path[1:]] = readText(path)
	}
	for _, src := range list {
		if src.signedBy != "" && src.signedBy != st.keyring() {
			files[src.signedBy[1:]] = readText(src.signedBy)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range files {
		if text == "" {
			continue
		}
		if err := (layer{upper: dir}).file(name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return (layer{upper: dir}).file("usr/lib/sandbox/sysctl.sh", script("sysctl.sh"), 0o755)
}

// aptSettings are those settings of this machine's apt without which it may not
// reach its sources.
func aptSettings(ctx context.Context) string {
	text, err := run(ctx, "", "apt-config", "dump", "Acquire")
	if err != nil {
		return ""
	}
	settings := pickSettings(text)
	for _, scheme := range []string{"http", "https"} {
		proxy := os.Getenv(scheme + "_proxy")
		if proxy != "" && !strings.Contains(strings.ToLower(settings), "acquire::"+scheme+"::proxy ") && plainURL(proxy) {
			settings += fmt.Sprintf("Acquire::%s::Proxy %q;\n", scheme, proxy)
		}
	}
	return settings
}

// withoutLoopback drops proxies that listen where only this machine can reach them.
func withoutLoopback(settings string) string {
	var b strings.Builder
	for line := range strings.Lines(settings) {
		if !strings.Contains(line, "//127.") && !strings.Contains(line, "//localhost") && !strings.Contains(line, "//[::1]") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// plainURL refuses what would break out of a quoted setting.
func plainURL(text string) bool { return !strings.ContainsAny(text, "\"\\;\n ") }

func pickSettings(dump string) string {
	var b strings.Builder
	for line := range strings.Lines(dump) {
		key, value, _ := strings.Cut(line, " ")
		low := strings.ToLower(key)
		wanted := strings.HasPrefix(low, "acquire::http::") || strings.HasPrefix(low, "acquire::https::") ||
			slices.Contains([]string{"acquire::check-valid-until", "acquire::check-date", "acquire::retries", "acquire::forceipv4"}, low)
		if wanted && strings.TrimSpace(value) != `"";` {
			b.WriteString(line)
		}
	}
	return b.String()
}

// runBuild runs mmdebstrap, hands its headlines on and keeps the rest in a log.
func (s *Sandbox) runBuild(ctx context.Context, logPath string, env, args []string) error {
	logFile, err := os.OpenFile(logPath, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = logFile.Close() }()
	// The death signal comes when the thread ends that started the program.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, "unshare", args...)
	cmd.Dir, cmd.Env = "/", append(plainEnv(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 5 * time.Second
	cmd.Stdout = logFile
	words, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	last := s.follow(words, logFile)
	if err := cmd.Wait(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%s (mmdebstrap: %w; all of it is in %s)", last, err, logPath)
	}
	return nil
}

// follow copies mmdebstrap's words to the log, reports its headlines and returns
// its first complaint with what was said before it.
func (s *Sandbox) follow(words io.Reader, logFile io.Writer) string {
	before, complaint := "it said nothing", ""
	lines := bufio.NewScanner(words)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		_, _ = fmt.Fprintln(logFile, line)
		switch {
		case strings.HasPrefix(line, "I: "):
			s.say("base: %s", strings.TrimSuffix(line[3:], "..."))
		case strings.HasPrefix(line, "E: ") && complaint == "":
			complaint = before + "; " + line[3:]
		case !strings.HasPrefix(line, "W: "):
			before = line
		}
	}
	_, _ = io.Copy(logFile, words)
	return cmp.Or(complaint, before)
}

// removeTree removes a folder. A playbook may have made files immutable, which
// even root cannot remove then.
func removeTree(ctx context.Context, path string) error {
	err := os.RemoveAll(path)
	if err == nil {
		return nil
	}
	_, _ = run(ctx, "", "chattr", "-R", "-f", "-i", "-a", path)
	return os.RemoveAll(path)
}
