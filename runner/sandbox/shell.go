package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// run runs a program of the machine to its end and returns what it printed. The
// error has the program's last words.
func run(ctx context.Context, stdin, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	cmd.Dir, cmd.Env = "/", plainEnv()
	cmd.WaitDelay = 2 * time.Second
	if err := cmd.Run(); err != nil {
		what := name
		if len(args) > 0 {
			what += " " + args[0]
		}
		if ctx.Err() != nil {
			return out.String(), fmt.Errorf("cannot run %s: %w", what, ctx.Err())
		}
		if words := lastLine(errs.String()); words != "" {
			return out.String(), fmt.Errorf("cannot run %s: %s (%w)", what, words, err)
		}
		return out.String(), fmt.Errorf("cannot run %s: %w", what, err)
	}
	return out.String(), nil
}

// plainEnv is the environment of the programs we run: English, and the places
// where programs for root are, which a user's path may lack.
func plainEnv() []string {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/root"}
	for _, name := range []string{"http_proxy", "https_proxy", "no_proxy", "TMPDIR"} {
		if value := os.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// serialised makes a report function that may be called from everywhere.
func serialised(report func(string)) func(string) {
	if report == nil {
		return func(string) {}
	}
	var mu sync.Mutex
	return func(msg string) {
		mu.Lock()
		defer mu.Unlock()
		report(msg)
	}
}

// pause waits, unless the context ends first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// poll asks done again and again until it says yes, fails or the limit is over.
func poll(ctx context.Context, limit time.Duration, what string, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s took more than %s", what, limit))
	defer cancel()
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		if pause(ctx, 20*time.Millisecond) != nil {
			if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
				return cause
			}
			return fmt.Errorf("%s was interrupted: %w", what, context.Canceled)
		}
	}
}
