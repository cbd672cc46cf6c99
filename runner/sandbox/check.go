package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// Unsupported is the error of a machine that cannot have sandbox hosts as it is.
type Unsupported struct {
	Reason string   // one sentence, without a full stop
	Hint   string   // what would help, or empty
	Wanted []string // the packages that Install would install, if they are all that is missing
}

func (e *Unsupported) Error() string { return "cannot make sandbox hosts here: " + e.Reason }

func noRoot() error {
	return &Unsupported{Reason: "it takes root", Hint: "run the same command with sudo"}
}

// tools are the programs we run and the Debian packages they come in.
var tools = []struct{ program, pkg string }{
	{"systemd-nspawn", "systemd-container"},
	{"mmdebstrap", "mmdebstrap"},
	{"ip", "iproute2"},
	{"nft", "nftables"},
	{"ssh-keygen", "openssh-client"},
	{"unshare", "util-linux"},
	{"nsenter", "util-linux"},
	{"setsid", "util-linux"},
	{"mount", "mount"},
	{"chattr", "e2fsprogs"},
}

// Check returns an [Unsupported] that says what is missing on this machine, or
// nil. It tries out what hosts need in namespaces of its own and leaves nothing.
func (s *Sandbox) Check(ctx context.Context) error {
	if runtime.GOOS != "linux" {
		return &Unsupported{Reason: "this machine does not run Linux", Hint: "run it on a Debian or Ubuntu machine"}
	}
	if os.Geteuid() != 0 {
		return noRoot()
	}
	if missing := s.missing(); len(missing) > 0 {
		return &Unsupported{
			Reason: "these packages are missing: " + strings.Join(missing, " "),
			Hint:   "apt-get install " + strings.Join(missing, " "),
			Wanted: missing,
		}
	}
	return s.try(ctx)
}

// missing lists packages whose programs or keys are not here.
func (s *Sandbox) missing() []string {
	var missing []string
	seen := map[string]bool{}
	add := func(pkg string) {
		if !seen[pkg] {
			seen[pkg] = true
			missing = append(missing, pkg)
		}
	}
	for _, tool := range tools {
		if !installed(tool.program) {
			add(tool.pkg)
		}
	}
	if _, err := os.Stat(s.suite.keyring()); err != nil && s.suite.ownKey() == nil {
		add(s.suite.distro + "-archive-keyring")
	}
	return missing
}

func installed(program string) bool {
	path := strings.TrimPrefix(plainEnv()[0], "PATH=")
	for dir := range strings.SplitSeq(path, ":") {
		if info, err := os.Stat(filepath.Join(dir, program)); err == nil && info.Mode()&0o111 != 0 {
			return true
		}
	}
	return false
}

// try does once, in small, what booting a host does.
func (s *Sandbox) try(ctx context.Context) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return &Unsupported{Reason: err.Error()}
	}
	list, err := hierarchies()
	if err != nil || len(list) == 0 {
		return &Unsupported{Reason: "no tree of cgroups is mounted for writing", Hint: "a container needs to be started with --privileged"}
	}
	dir, err := os.MkdirTemp(s.dir, ".check-*")
	if err != nil {
		return &Unsupported{Reason: err.Error()}
	}
	defer func() { _ = os.RemoveAll(dir) }()
	for _, name := range []string{"lower", "upper", "work", "root"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			return err
		}
	}
	container := "a container needs to be started with --privileged"
	disk := "choose a state folder on a disk (ext4, xfs or btrfs)"
	for _, probe := range []struct{ script, reason, hint string }{
		{"true", "this machine does not give out mount and network namespaces", container},
		{"ip link add hfcheck0 type bridge && ip link add hfcheck1 type veth peer name hfcheck2", "this machine cannot make bridges and virtual links", container},
		{"nft add table inet hfcheck && nft add table bridge hfcheck", "this machine's netfilter does not take rules", container},
		{"mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay root && mkdir -p root/a", "overlay mounts do not work in " + s.dir, disk},
	} {
		if _, err := run(ctx, "", "unshare", "--mount", "--net", "--pid", "--fork", "--", "sh", "-c", "cd "+dir+" && "+probe.script); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return &Unsupported{Reason: fmt.Sprintf("%s (%v)", probe.reason, err), Hint: probe.hint}
		}
	}
	return nil
}

// Install installs the packages that Check finds missing, with apt-get, on a
// Debian or Ubuntu machine. Without something missing it does nothing.
func (s *Sandbox) Install(ctx context.Context) error {
	err := s.Check(ctx)
	var lack *Unsupported
	if err == nil || !errors.As(err, &lack) || len(lack.Wanted) == 0 {
		return err
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return &Unsupported{Reason: lack.Reason, Hint: "install what brings systemd-nspawn, mmdebstrap, ip, nft and ssh-keygen on this system"}
	}
	s.say("installing %s", strings.Join(lack.Wanted, " "))
	if err := aptInstall(ctx, lack.Wanted); err != nil {
		return fmt.Errorf("cannot install %s: %w", strings.Join(lack.Wanted, " "), err)
	}
	return s.Check(ctx)
}

// aptInstall fetches the lists only when what they say now is not enough.
func aptInstall(ctx context.Context, packages []string) error {
	install := append([]string{"-o", "DPkg::Lock::Timeout=300", "install", "-y", "-q", "--no-install-recommends"}, packages...)
	if aptGet(ctx, install...) == nil {
		return nil
	}
	if err := aptGet(ctx, "-o", "DPkg::Lock::Timeout=300", "update", "-q"); err != nil {
		return err
	}
	return aptGet(ctx, install...)
}

func aptGet(ctx context.Context, args ...string) error {
	_, err := run(ctx, "", "env", append([]string{"DEBIAN_FRONTEND=noninteractive", "apt-get"}, args...)...)
	return err
}

// start starts a program that outlives us: in a session of its own, and with
// none of our files.
func start(ctx context.Context, logPath string, args ...string) error {
	logFile, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = logFile.Close() }()
	// setsid --fork is gone at once, so that the program is nobody's child that
	// somebody would have to wait for.
	cmd := exec.CommandContext(ctx, "setsid", append([]string{"--fork"}, args...)...)
	cmd.Dir, cmd.Env = "/", plainEnv()
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd.Run()
}
