package runner

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"holdfast/inventory"
	"holdfast/playbooks/lang"
	"holdfast/runner/event"
	"holdfast/runner/load"
	"holdfast/runner/plain"
	"holdfast/runner/remote"
	"holdfast/runner/wire"
)

// hostRun is the work on one host. One goroutine owns it.
type hostRun struct {
	run     *run
	host    *inventory.Host
	bound   *load.Host
	session *remote.Session
	conn    remote.Conn
	secrets *load.SecretTable
	counts  event.Counts

	step     int                  // number of the last step that was made
	program  int                  // number of the last program that was sent
	batch    []wire.Step          // resolved and not sent yet
	size     int                  // of the batch on the wire, about
	handlers []wire.Handler       // resolved and not sent yet
	defined  []wire.Handler       // all of them, for a helper that starts after a reboot
	resumed  bool                 // the host was rebooted in this run
	letGo    func()               // ends the context of a connection that was made after a reboot
	queue    []string             // for the next program
	drop     []string             // for the next program
	meta     map[int]*stepMeta    // what the host's answers refer to
	waiting  []event.TaskFinished // outcomes of entries behind those in the batch
	open     *stepMeta            // the task that was told to have begun
	risks    []int                // steps that could cut the connection, since a guard with paths of its own
	proved   []Path               // of the last such guard, once each let somebody in
	hot      bool                 // a handler could
	left     int                  // steps of handlers that earlier runs left
	rescues  int                  // blocks around with a rescue
	broken   error                // errStop when an answer ends the work
	failed   bool

	violation error                           // of the protocol, which only the engine can see
	hangUp    func()                          // ends the exchange at once
	guard     *guardRun                       // the guard that an author asked for, while its block runs
	verdict   string                          // of a guard that took something back
	wrong     int                             // resources that the last rollback could not take back
	back      string                          // how rollbacks went: undone or broken
	cut       error                           // the connection is gone; what is known came over another one
	beside    struct{ up, down, trips int64 } // traffic of the connections of guards
	at        remote.Endpoint
	alone     bool        // the host goes on without us
	entry     *lang.Entry // where the walk is
}

// Stats is what a connection may tell about its traffic.
type Stats interface {
	Traffic() (bytesUp, bytesDown, roundTrips, channels int64)
}

// work does everything on the host and reports its outcome.
func (h *hostRun) work(ctx context.Context) {
	began := time.Now()
	f := &event.HostFinished{}
	var err error
	h.conn, err = h.run.opts.Connect(ctx, h.host)
	if err == nil {
		err = h.talk(ctx)
		h.spend(h.conn)
		f.BytesUp, f.BytesDown, f.RoundTrips = h.beside.up, h.beside.down, h.beside.trips
		if cerr := h.conn.Close(); err == nil && cerr != nil {
			h.warn("cannot close the connection: "+cerr.Error(), "")
		}
	} else {
		err = remote.AsUnreachable(h.host.Name, err)
	}
	if h.letGo != nil {
		h.letGo()
	}
	h.abandon()
	status, code := h.outcome(ctx, err)
	f.Status = status
	f.Counts, f.Duration = h.counts, time.Since(began)
	h.run.emit(h.host.Name, event.Event{HostFinished: f})
	h.run.count(f, code)
	h.release()
}

// release forgets what only the work needed: a run may have thousands of hosts.
func (h *hostRun) release() {
	if h.bound != nil {
		h.bound.Release()
	}
	*h = hostRun{run: h.run, host: h.host}
}

// outcome turns the end of the work into a status and an exit status, and reports
// what was not reported yet.
func (h *hostRun) outcome(ctx context.Context, err error) (event.HostStatus, int) {
	var unreachable *remote.Unreachable
	var lost *remote.Lost
	switch {
	case h.verdict == "broken" || h.back == backBroken:
		return event.HostBroken, CodeRollbackFailed
	case h.verdict == "undone" || h.back == backUndone && (err == nil || errors.Is(err, errStop)):
		return event.HostRolledBack, CodeRolledBack
	case errors.Is(err, errInterrupted), err != nil && ctx.Err() != nil:
		return event.HostInterrupted, CodeOK
	case err == nil && !h.failed && h.alone:
		return event.HostDetached, CodeOK
	case err == nil && !h.failed:
		return event.HostOK, CodeOK
	case err == nil, errors.Is(err, errStop):
		return event.HostFailed, CodeFailed
	case errors.As(err, &unreachable):
		h.run.emit(h.host.Name, event.Event{HostUnreached: &event.HostUnreached{Error: plain.Text(unreachable.Err.Error()), Hint: plain.Line(unreachable.Hint)}})
		return event.HostUnreachable, CodeUnreachable
	case errors.As(err, &lost):
		h.run.emit(h.host.Name, event.Event{HostUnreached: &event.HostUnreached{Error: plain.Text(err.Error()), Lost: true,
			Hint: "run the same command again: what was done stays done, and pending handlers run then"}})
		return event.HostUnreachable, CodeUnreachable
	}
	name := "prepare the host"
	if h.program > 0 {
		name = "talk to the host"
	}
	h.finished(&event.TaskFinished{Task: event.Task{Name: name}, Status: event.Failed, Error: plain.Text(err.Error()), Hint: plain.Line(hintOf(err))})
	return event.HostFailed, CodeFailed
}

func (h *hostRun) warn(message, hint string) {
	h.run.emit(h.host.Name, event.Event{Warning: &event.Warning{Message: message, Hint: hint}})
}

// talk opens the session and does the work of the run's mode.
func (h *hostRun) talk(ctx context.Context) (err error) {
	if h.run.opts.Mode == event.Attach {
		return h.attach(ctx)
	}
	if h.session, err = remote.Open(ctx, h.conn, h.sessionOptions()); err != nil {
		return err
	}
	defer func() {
		// A helper that was lost has been reported already.
		if cerr := h.session.Close(); cerr != nil && err == nil {
			h.warn("the helper did not end well: "+plain.Line(cerr.Error()), "")
		}
	}()
	h.connected()
	w := h.session.Welcome
	if h.run.opts.Mode == event.Undo || h.run.opts.Mode == event.UndoPlan {
		return h.undo(ctx)
	}
	for _, note := range w.Warnings {
		h.warn(plain.Line(note.Message), plain.Line(note.Hint))
	}
	for _, p := range w.Pending {
		if h.run.opts.Mode == event.Apply {
			h.run.emit(h.host.Name, event.Event{HandlerQueued: &event.HandlerQueued{Handler: plain.Line(p.Name), Pending: plain.Line(p.Run)}})
		}
	}
	return h.play(ctx)
}

func (h *hostRun) sessionOptions() remote.Options {
	opts := h.run.opts.Session(h.host)
	opts.Hello = h.run.hello()
	opts.Hello.Resume, opts.Hello.Key = h.resumed, h.conn.Describe().Key
	opts.Pushed = func(p remote.Pushed) {
		h.run.emit(h.host.Name, event.Event{HelperPushed: &event.HelperPushed{Bytes: p.Bytes, Platform: p.Platform, Path: p.Path, Duration: p.Took}})
	}
	return opts
}

// connected tells where the session leads.
func (h *hostRun) connected() {
	w := h.session.Welcome
	h.at = h.conn.Describe()
	h.run.emit(h.host.Name, event.Event{HostConnected: &event.HostConnected{Address: h.at.Address, User: h.at.User,
		Root: w.Facts.UID == 0, OS: plain.Line(w.Facts.OS.Name), Helper: plain.Line(w.Build), Duration: h.session.Duration}})
}

// undo takes a run back on this host.
func (h *hostRun) undo(ctx context.Context) error {
	want := h.run.opts.Undo
	id := pick(h.session.Welcome.Runs, want.Run)
	switch {
	case id == "" && want.Run == lastRun:
		h.warn("nothing to take back: no run is left that changed something here", "")
		return nil
	case id == "":
		h.warn("nothing to take back: this host knows no run "+want.Run, "")
		return nil
	case want.Run == lastRun:
		h.warn("the last run that changed something here is "+plain.Line(id), "")
	}
	ctx, h.hangUp = context.WithCancel(ctx)
	defer h.hangUp()
	u := &wire.Undo{Run: id, Only: want.Only, Plan: want.Plan, Force: want.Force}
	work := remote.Work{Each: h.hear, Interrupt: h.run.opts.Stop, Blob: h.run.opts.Blobs.Get}
	done, err := h.session.Undo(ctx, u, work)
	for h.rejoin(ctx, err) {
		done, err = h.session.ContinueUndo(ctx, u, work)
	}
	if h.violation != nil {
		return h.violation
	}
	if err != nil {
		return err
	}
	if done.Cancelled {
		return errInterrupted
	}
	if done.Error != "" {
		return errors.New(done.Error)
	}
	if c := h.counts; len(want.Only) > 0 && c.Undone+c.Unchanged+c.Refused+c.Failed == 0 {
		return fmt.Errorf("the run %s did nothing to %s here", id, strings.Join(want.Only, " and "))
	}
	return nil
}

// lastRun is the word for the newest run on each host.
const lastRun = "last"

// pick returns the run's full name: the run itself, one that begins so, or the
// newest that changed something that can be taken back, and was not.
func pick(runs []wire.Run, want string) string {
	found := ""
	for _, r := range runs { // newest first
		switch {
		case r.ID == want:
			return r.ID
		case want == lastRun && found == "" && r.UndoOf == "" && r.UndoneBy == "" && r.Changes > 0:
			found = r.ID
		case want != lastRun && len(want) >= 4 && len(r.ID) > len(want) && r.ID[:len(want)] == want:
			if found != "" {
				return "" // two runs begin so
			}
			found = r.ID
		}
	}
	return found
}
