package host

import (
	"context"
	"errors"
	"fmt"
	"os"

	"holdfast/runner/journal"
	"holdfast/tasks/task"
)

// writer changes the machine for one task.
type writer struct {
	reader
	s Session
}

var _ task.Writer = (*writer)(nil)

// Progress tells whoever watches what a long step is doing.
func (w *writer) Progress(message string) {
	if w.s.Progress != nil {
		w.s.Progress(message)
	}
}

// root fails when the task has not root's rights.
func (w *writer) root() error {
	id, err := w.m.identity(w.user)
	if err != nil {
		return err
	}
	if id != nil || os.Geteuid() != 0 {
		return errNeedsRoot
	}
	return nil
}

// ready fails when nothing may be changed now.
func (w *writer) ready(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if w.s.Task == nil {
		return errors.New("internal error: a change without a journal")
	}
	if w.s.Fence != nil {
		return w.s.Fence()
	}
	return nil
}

// change writes down an act, does it, and writes down its outcome. act returns the
// fingerprint of the resource afterwards.
func (w *writer) change(ctx context.Context, e journal.Entry, act func(*journal.Entry) (after string, err error)) error {
	if err := w.ready(ctx); err != nil {
		return err
	}
	entry, err := w.s.Task.Intend(e)
	if err != nil {
		return err
	}
	after, err := act(entry)
	if err != nil {
		return err
	}
	return w.s.Task.Done(entry, after)
}

// as runs f with the rights of the task's account.
func (w *writer) as(f func(id *identity) error) error {
	id, err := w.m.identity(w.user)
	if err != nil {
		return err
	}
	return id.do(func() error { return f(id) })
}

const opRun = "run"

type runWant struct {
	Argv []string `json:"argv"`
	User string   `json:"user,omitempty"`
	Dir  string   `json:"dir,omitempty"`
}

// Run runs a command that may change anything. The journal knows that it ran, not
// what it did.
func (w *writer) Run(ctx context.Context, cmd task.Command) (out task.Output, err error) {
	if len(cmd.Argv) == 0 {
		return out, errors.New("cannot run a command without a name")
	}
	argv := cmd.Argv
	if w.s.Hidden {
		argv = []string{argv[0], "…"}
	}
	e := journal.Entry{Op: opRun, Resource: "command:" + cmd.Argv[0], Want: encode(runWant{argv, cmd.User, cmd.Dir})}
	err = w.change(ctx, e, func(*journal.Entry) (string, error) {
		out, err = w.m.command(ctx, cmd, w.user, w.Progress)
		return fmt.Sprintf("status %d", out.Status), err
	})
	w.m.accounts.forget() // it may be a useradd within the same clock tick
	return out, err
}
