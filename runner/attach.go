package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"holdfast/runner/event"
	"holdfast/runner/plain"
	"holdfast/runner/remote"
	"holdfast/runner/wire"
	"holdfast/tasks/task"
)

// rejoin makes a lost connection anew and takes up the talk where it was cut. It
// reports whether it did; if not, the loss stands. The host pauses at the next task
// boundary until then.
func (h *hostRun) rejoin(ctx context.Context, err error) bool {
	var lost *remote.Lost
	if h.run.opts.Reattach == 0 || h.violation != nil || !errors.As(err, &lost) || ctx.Err() != nil || h.run.stopped() {
		return false
	}
	h.warn(plain.Text(err.Error())+"; the host goes on to the end of its task and waits", "")
	ctx, cancel := context.WithTimeout(ctx, h.run.opts.Reattach)
	defer cancel()
	wait := 200 * time.Millisecond
	for {
		why := h.rejoinOnce(ctx)
		if why == nil {
			h.warn("connected again: the run goes on where it was", "")
			return true
		}
		if errors.Is(why, remote.ErrEnded) {
			h.warn("connected again, but "+why.Error(), "")
			return false
		}
		select {
		case <-time.After(wait):
			wait = min(2*wait, 10*time.Second)
		case <-h.run.opts.Stop:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

func (h *hostRun) rejoinOnce(ctx context.Context) error {
	conn, err := h.run.opts.Connect(ctx, h.host)
	if err != nil {
		return err
	}
	session, err := remote.Rejoin(ctx, conn, h.session)
	if err != nil {
		h.spend(conn)
		return errors.Join(err, conn.Close())
	}
	_, _ = h.session.Close(), h.conn.Close() // they are cut already
	h.spend(h.conn)
	h.session, h.conn = session, conn
	return nil
}

// launch ships the program that the host goes on with alone.
func (h *hostRun) launch(ctx context.Context, w remote.Work) (*wire.Done, error) {
	if err := h.session.Launch(ctx, w, contents(w.Program)); err != nil {
		return nil, err
	}
	h.alone, h.waiting = true, nil
	return &wire.Done{ID: w.Program.ID}, nil
}

// contents returns the digests of the content that a program's arguments refer to.
func contents(p *wire.Program) []string {
	var out []string
	seen := map[string]bool{}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if digest, ok := v[task.BlobKey].(string); ok && !seen[digest] {
				seen[digest] = true
				out = append(out, digest)
			}
			for _, inner := range v {
				walk(inner)
			}
		case []any:
			for _, inner := range v {
				walk(inner)
			}
		}
	}
	steps := p.Steps
	for _, h := range p.Handlers {
		steps = append(steps[:len(steps):len(steps)], h.Steps...)
	}
	for i := range steps {
		var v any
		if json.Unmarshal(steps[i].Args, &v) == nil {
			walk(v)
		}
	}
	return out
}

// detachable fails for a program that is not the whole of the run: whoever leaves
// cannot send the rest.
func (h *hostRun) detachable(p *wire.Program) error {
	switch {
	case !h.run.opts.Detach || h.run.opts.Mode != event.Apply:
		return nil
	case h.run.rollout() != nil:
		return &hinted{errors.New("the run cannot be detached: its rollout waits for how hosts end"), "run it without --detach"}
	case h.rollsBack(h.bound.Playbook.Lang.OnFailure):
		return &hinted{errors.New("the run cannot be detached: with on_failure: rollback its controller decides in the end"), "run it without --detach"}
	case !p.Flush:
		return &hinted{fmt.Errorf("%s: the run cannot be detached: %q needs the controller", h.entry.Pos, h.entry.Name),
			"run it without --detach; a lost connection is made anew, and what runs on the host goes on"}
	case h.risky(p.Steps):
		return &hinted{errors.New("the run cannot be detached: it could cut the connection, and only a controller can prove that it did not"), "run it without --detach"}
	}
	return nil
}

// hinted is an error with what to do about it.
type hinted struct {
	error
	hint string
}

// Hint says what to do about it.
func (e *hinted) Hint() string { return e.hint }

// attach follows, on this host, a run that goes on there without its controller.
func (h *hostRun) attach(ctx context.Context) (err error) {
	opts := h.run.opts.Session(h.host)
	opts.Hello = h.run.hello()
	h.session, err = remote.Attach(ctx, h.conn, opts, wire.Attach{Run: named(h.run.opts.Attach), Action: wire.AttachFollow})
	if errors.Is(err, remote.ErrEnded) {
		return h.past(h.session.Welcome.Runs)
	}
	if err != nil {
		return err
	}
	defer h.session.Close() //nolint:errcheck // how it ended is known
	h.connected()
	at := h.session.Welcome.Attached
	h.learnFrom(at.Program)
	ctx, h.hangUp = context.WithCancel(ctx)
	defer h.hangUp()
	done, err := h.session.Follow(ctx, remote.Work{Program: at.Program, Each: h.hear, Quit: h.run.opts.Stop})
	switch {
	case errors.Is(err, remote.ErrQuit):
		h.warn("the run goes on without us", "'holdfast runs abort "+plain.Line(at.Run)+"' ends it")
		return errInterrupted
	case h.violation != nil:
		return h.violation
	case err != nil:
		return err
	case done.Cancelled:
		return errInterrupted
	case done.Error != "":
		return errors.New(done.Error)
	case done.Failed != 0:
		h.failed = true
	}
	if at.Undo || at.Program != nil && at.Program.Final {
		return nil
	}
	h.warn("the rest of the run needs its controller, which is gone", "holdfast runs resume "+plain.Line(at.Run))
	return errInterrupted
}

// named is the run that a person means on the wire: "last" is whichever is at work.
func named(run string) string {
	if run == lastRun {
		return ""
	}
	return run
}

// learnFrom makes the steps of a program known that another controller sent.
func (h *hostRun) learnFrom(p *wire.Program) {
	if p == nil {
		return
	}
	for i := range p.Steps {
		h.learnStep(&p.Steps[i], "")
	}
	for _, handler := range p.Handlers {
		for i := range handler.Steps {
			h.learnStep(&handler.Steps[i], handler.Name)
		}
	}
}

func (h *hostRun) learnStep(st *wire.Step, handler string) {
	h.meta[st.N] = &stepMeta{ignore: st.Ignore, task: event.Task{Step: st.N, Name: plain.Line(st.Name), Module: plain.Line(st.Module), Path: plain.Line(st.Path), Handler: plain.Line(handler)}}
}

// past reports how a run ended that is at work on the host no more.
func (h *hostRun) past(runs []wire.Run) error {
	id := pick(runs, h.run.opts.Attach)
	if h.run.opts.Attach == lastRun && len(runs) > 0 {
		id = runs[0].ID // whatever it did
	}
	for _, r := range runs {
		if r.ID != id {
			continue
		}
		switch r.Status {
		case "succeeded":
			h.warn("the run has ended: succeeded", "")
			return nil
		case "":
			return &hinted{fmt.Errorf("the run %s died on the host", plain.Line(id)), "'holdfast runs resume " + plain.Line(id) + "' does the rest"}
		}
		return &hinted{fmt.Errorf("the run %s has ended: %s", plain.Line(id), plain.Line(r.Status)), "'holdfast runs show " + plain.Line(id) + "' shows what it did"}
	}
	return &hinted{fmt.Errorf("this host knows no run %q", h.run.opts.Attach), "'holdfast runs list' shows those that it knows"}
}
