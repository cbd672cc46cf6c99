package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// Exec runs a program in a host as root, without SSH and whatever the host's
// network and firewall are: the console of last resort. It returns the program's
// exit status, or -1 and an error when the program did not run to its end. With
// a cancelled context, the program is killed. Nil streams are empty.
func (s *Sandbox) Exec(ctx context.Context, name string, stdin io.Reader, stdout, stderr io.Writer, argv ...string) (status int, err error) {
	if len(argv) == 0 {
		return -1, fmt.Errorf("cannot run nothing in host %q", name)
	}
	leader, err := s.leaderOf(name)
	if err != nil {
		return -1, fmt.Errorf("cannot run %s: %w", argv[0], err)
	}
	args := append([]string{
		"--target", strconv.Itoa(leader), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
		"--root", "--",
		"env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/bash", "LANG=C.UTF-8", "TERM=linux",
	}, argv...)
	cmd := exec.CommandContext(ctx, "nsenter", args...)
	cmd.Env = plainEnv()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	// nsenter is a parent that waits; the program itself is its child.
	cmd.Cancel = func() error {
		for _, child := range children(cmd.Process.Pid) {
			_ = syscall.Kill(child, syscall.SIGKILL)
		}
		return cmd.Process.Kill()
	}
	// A service that the program has started may keep its output open for ever.
	cmd.WaitDelay = 2 * time.Second
	if err = cmd.Start(); err == nil {
		stop := goOn(cmd.Process.Pid)
		err = cmd.Wait()
		stop()
	}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return -1, fmt.Errorf("cannot run %s in host %s: %w", argv[0], name, ctx.Err())
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return 0, nil
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode(), nil
	}
	return -1, fmt.Errorf("cannot run %s in host %s: %w", argv[0], name, err)
}

// goOn keeps an nsenter from stopping: it does when its program is stopped, as a host that
// shuts down does to all before it kills them, and then never hears of that end.
func goOn(pid int) (stop func()) {
	done := make(chan struct{})
	go func() {
		t := time.NewTicker(time.Second)
		defer t.Stop()
		for {
			select {
			case <-done:
				return
			case <-t.C:
				_ = syscall.Kill(pid, syscall.SIGCONT) // one that runs takes no notice
			}
		}
	}()
	return func() { close(done) }
}
