// Package cli is the command line: one file for each command, thin over the engine.
// It alone reads the surroundings of the process, and it maps errors to exit codes.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"holdfast/cmd/render"
	"holdfast/playbooks/source"
	"holdfast/runner"
	"holdfast/runner/event"
	"holdfast/runner/remote"
	"holdfast/runner/secrets"
	"holdfast/tasks/secret"
)

// Env is what the program knows of its surroundings.
type Env struct {
	Args   []string // without the program's name
	Stdin  *os.File
	Stdout io.Writer
	Stderr io.Writer
	Getenv func(string) string
	Dir    string // working directory
	Now    func() time.Time

	redactor secret.Redactor
	// stop is closed by the first interrupt.
	stop     chan struct{}
	stopOnce sync.Once
	atOnce   atomic.Bool // that ends what is being done
}

// SystemEnv returns the surroundings of the process.
func SystemEnv() *Env {
	dir, err := os.Getwd()
	if err != nil {
		dir = "."
	}
	return &Env{Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Dir: dir, Now: time.Now}
}

// exit is an error that only carries a status: what there was to say was said.
type exit struct{ code int }

func (e *exit) Error() string { return fmt.Sprintf("exit status %d", e.code) }

// usage is the error of a wrong command line.
type usage struct {
	err  error
	hint string
}

func (u *usage) Error() string { return u.err.Error() }

func usagef(hint, format string, args ...any) error {
	return &usage{fmt.Errorf(format, args...), hint}
}

// Main runs the program and returns its exit status.
func Main(env *Env) int {
	env.stop = make(chan struct{})
	ctx, cancel := env.signals()
	defer cancel()
	root := newRootCmd(env)
	root.SetArgs(env.Args)
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	return env.code(root.ExecuteContext(ctx))
}

// signals makes the first interrupt a request to stop after the current step, and
// the second one an order to stop now.
func (env *Env) signals() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	ch := make(chan os.Signal, 4)
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			select {
			case <-ch:
			case <-ctx.Done():
				return
			}
			if n == 0 {
				env.stopOnce.Do(func() { close(env.stop) })
				if !env.atOnce.Load() {
					env.warn("stopping after the current step; interrupt again to stop now", "")
				}
				continue
			}
			cancel()
			return
		}
	}()
	return ctx, func() {
		signal.Stop(ch)
		cancel()
		<-done
	}
}

// untilStopped returns a context that the first interrupt ends, for work that has
// no steps to finish.
func (env *Env) untilStopped(ctx context.Context) (context.Context, context.CancelFunc) {
	env.atOnce.Store(true)
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-env.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

func (env *Env) stopped() bool {
	select {
	case <-env.stop:
		return true
	default:
		return false
	}
}

// code prints an error and returns the status that goes with it.
func (env *Env) code(err error) int {
	if err == nil {
		return runner.CodeOK
	}
	var e *exit
	if errors.As(err, &e) {
		return e.code
	}
	code := runner.CodeInternal
	hint := ""
	var u *usage
	var faults source.Faults
	var fault *source.Fault
	var unreachable *remote.Unreachable
	var key *remote.HostKey
	var lost *remote.Lost
	var secretFault *secrets.Fault
	switch {
	case env.stopped() || errors.Is(err, context.Canceled):
		code = runner.CodeInterrupted
	case errors.As(err, &faults):
		fmt.Fprintln(env.Stderr, env.redactor.String(faults.Error()))
		env.errorLine(fmt.Sprintf("%s found, no host was contacted", render.Plural(len(faults), "fault")))
		return runner.CodeFaults
	case errors.As(err, &fault):
		code, hint = runner.CodeFaults, fault.Hint
	case errors.As(err, &u):
		code, hint = runner.CodeFaults, u.hint
	case errors.As(err, &unreachable):
		code, hint = runner.CodeUnreachable, unreachable.Hint
	case errors.As(err, &secretFault):
		code, hint = runner.CodeFaults, secretFault.Hint
	case errors.As(err, &key), errors.As(err, &lost):
		code = runner.CodeUnreachable
	case isUsage(err):
		code, hint = runner.CodeFaults, "'holdfast --help' lists the commands"
	}
	env.errorLine(err.Error())
	if hint != "" {
		env.line("hint", hint)
	}
	return code
}

// isUsage tells cobra's own errors about flags and arguments, which have no type.
func isUsage(err error) bool {
	for _, start := range []string{"unknown command", "unknown flag", "unknown shorthand", "invalid argument", "accepts ", "requires ", "flag needs", "required flag", "if any flags"} {
		if strings.HasPrefix(err.Error(), start) {
			return true
		}
	}
	return false
}

func (env *Env) errorLine(message string) { env.line("error", message) }

func (env *Env) warn(message, hint string) {
	env.line("warning", message)
	if hint != "" {
		env.line("hint", hint)
	}
}

// line prints one message for people. Several lines are indented below the first.
func (env *Env) line(kind, message string) {
	message = env.redactor.String(strings.ReplaceAll(message, "\n", "\n  "))
	fmt.Fprintf(env.Stderr, "holdfast: %s: %s\n", kind, message)
}

// path makes a path of the command line absolute against the working directory.
func (env *Env) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(env.Dir, name)
}

// userDir returns the program's folder below one of the user's base directories
// (XDG Base Directory Specification), or "" without a home.
func (env *Env) userDir(variable, fallback string) string {
	if dir := env.Getenv(variable); filepath.IsAbs(dir) {
		return filepath.Join(dir, "holdfast")
	}
	home := env.Getenv("HOME")
	if home == "" {
		return ""
	}
	return filepath.Join(home, fallback, "holdfast")
}

// output is the flags about how results are shown.
type output struct {
	format  string
	diff    bool
	verbose bool
}

func (o *output) flags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.format, "output", "o", "text", "how to show results: text or json (one event a line)")
	cmd.Flags().BoolVar(&o.diff, "diff", false, "show changes of content as a unified diff")
	cmd.Flags().BoolVarP(&o.verbose, "verbose", "v", false, "show tasks that change nothing too")
	complete(cmd, "text", "json")
}

func complete(cmd *cobra.Command, words ...string) {
	err := cmd.RegisterFlagCompletionFunc("output", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return words, cobra.ShellCompDirectiveNoFileComp
	})
	if err != nil {
		panic(err) // the flag is defined right above
	}
}

// renderer returns the reader of events that the flags ask for. Everything it
// writes goes through the redactor.
func (env *Env) renderer(o output) (render.Renderer, error) {
	if o.format != "text" && o.format != "json" {
		return nil, usagef("--output text or --output json", "unknown output %q", o.format)
	}
	tty := env.isTerminal()
	out := env.redactor.Writer(env.Stdout)
	return &redacted{render.New(render.Options{Out: out, Err: env.redactor.Writer(env.Stderr), Format: o.format,
		Live: tty, Color: tty && env.Getenv("NO_COLOR") == "", Diff: o.diff, Verbose: o.verbose, Width: env.width, Height: env.height,
		Now: env.Now, Redact: env.redactor.String}), out}, nil
}

// redacted is a renderer that lets go of what its redactor holds back when it is closed.
type redacted struct {
	render.Renderer
	out io.Closer
}

// Close ends the rendering.
func (r *redacted) Close() error { return errors.Join(r.Renderer.Close(), r.out.Close()) }

// finish turns the end of a run into the program's status.
func finish(f event.RunFinished) error {
	if f.Code == runner.CodeOK {
		return nil
	}
	return &exit{f.Code}
}
