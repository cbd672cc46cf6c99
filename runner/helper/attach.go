package helper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"holdfast/runner/host/systemd"
	"holdfast/runner/wire"
)

// modeAttach is the mode of a talk to the run that works on the host already.
const modeAttach = "attach"

// socketName is the socket of the run that holds the host's lock, in the state folder,
// which only its owner can enter.
const socketName = "attach.sock"

// socketPath keeps within what an address may hold (108 bytes, unix(7)), however deep
// the folder is.
func socketPath(dir string) (path string, done func()) {
	path = filepath.Join(dir, socketName)
	if len(path) < 100 {
		return path, func() {}
	}
	d, err := os.Open(dir)
	if err != nil {
		return path, func() {}
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), socketName), func() { _ = d.Close() }
}

// outlive makes the run go on when its connection does not: what is said is kept, and a
// controller can come back over the socket.
func (s *server) outlive(ctx context.Context) error {
	if s.store == nil || s.lock == nil || s.hello.Reattach == 0 && !s.hello.Detach {
		return nil
	}
	path, done := socketPath(s.store.Dir())
	defer done()
	_ = os.Remove(path) // of a run that died: we hold the lock
	ln, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("cannot listen for a controller that comes back: %w", err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false) // the path may lead through a descriptor of ours
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(err, ln.Close())
	}
	s.door = ln
	// Half an undo is worse than a whole one: it does not wait for anybody.
	s.link.keep(s.hello.Detach || s.hello.Mode == "undo")
	if s.hello.Detach {
		s.blobs.keepAll()
		s.escape(ctx)
	}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go s.admit(conn)
		}
	}()
	return nil
}

// escape leaves the session of the login, which a host may end with all that is in it
// (logind.conf(5), KillUserProcesses). A host without systemd has none.
func (s *server) escape(ctx context.Context) {
	if s.machine.Facts().Init != "systemd" {
		return
	}
	m, err := systemd.Connect(ctx)
	if err == nil {
		err = errors.Join(m.Adopt(ctx, "holdfast-run.scope", os.Getpid(), "Holdfast run "+s.hello.Run), m.Close())
	}
	if err != nil {
		_ = s.warn("the run stays in the session of its login: "+err.Error(), "a host that ends the processes of a login ends the run with it")
	}
}

// shut ends the coming back.
func (s *server) shut() {
	if s.door == nil {
		return
	}
	_ = s.door.Close()
	_ = os.Remove(filepath.Join(s.store.Dir(), socketName))
}

// greetLimit is how long one who comes in has to say who it is.
const greetLimit = 10 * time.Second

// admit lets in who comes over the socket: a controller that comes back, one that ends
// the run, or a new run that wants the host.
func (s *server) admit(conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(greetLimit))
	stream := wire.NewStream(conn, conn)
	kind, payload, err := stream.ReadFrame()
	if err != nil || kind != wire.JSON {
		_ = conn.Close()
		return
	}
	m, err := wire.DecodeMessage(payload)
	if err != nil || m.Hello == nil || m.Hello.Attach == nil {
		_ = conn.Close()
		return
	}
	if refused := s.answer(conn, stream, m.Hello); refused != nil {
		_ = stream.Send(&wire.Message{Refused: refused})
		_ = conn.Close()
	}
}

func (s *server) answer(conn net.Conn, stream *wire.Stream, h *wire.Hello) *wire.Refused {
	a := h.Attach
	if a.Run != s.hello.Run && a.Run != "" && (len(a.Run) < 4 || !strings.HasPrefix(s.hello.Run, a.Run)) {
		return &wire.Refused{Error: fmt.Sprintf("the run that works on this host is %s, not %s", s.hello.Run, a.Run), Locked: true}
	}
	there, _ := s.link.attended()
	switch a.Action {
	case wire.AttachYield:
		if there || !s.idle() {
			return &wire.Refused{Error: "it is at work", Locked: true}
		}
		s.stopSoon()
		s.end()
	case wire.AttachAbort, wire.AttachKill:
		s.stopSoon()
		if a.Action == wire.AttachKill {
			s.cancelNow()
		}
		if !there && s.idle() {
			s.end()
		}
	case wire.AttachFollow:
		if there && (h.Token == "" || h.Token != s.hello.Token) {
			return &wire.Refused{Error: fmt.Sprintf("run %s is attended by its controller, %s on %s", s.hello.Run, s.hello.User, s.hello.Controller),
				Hint: "what it does is shown there; 'holdfast runs abort " + s.hello.Run + "' ends it", Locked: true}
		}
		s.follow(conn, stream, a.Seen)
		return nil
	default:
		return &wire.Refused{Error: fmt.Sprintf("this helper does not know the action %.40q", a.Action)}
	}
	_ = stream.Send(s.attached())
	_ = conn.Close()
	return nil
}

// idle reports whether nothing is being done: between two programs, between two tasks, or
// in a task that waits for content which only its controller has.
func (s *server) idle() bool { return !s.busy.Load() || s.holding.Load() || s.blobs.waiting() }

// follow gives the talk to a controller that came back.
func (s *server) follow(conn net.Conn, stream *wire.Stream, seen int) {
	if stream.Send(s.attached()) != nil {
		_ = conn.Close()
		return
	}
	_ = conn.SetDeadline(time.Time{})
	gen := s.link.swap(conn, func() { _ = conn.Close() }, seen)
	if digest := s.blobs.again(); digest != "" {
		_ = s.stream.Send(&wire.Message{NeedBlob: &wire.NeedBlob{Digest: digest}})
	}
	s.read(gen, stream)
}

// attached is the welcome of one who came in over the socket.
func (s *server) attached() *wire.Message {
	at := &wire.Attached{Run: s.hello.Run, Controller: s.hello.Controller, User: s.hello.User, Playbook: s.hello.Playbook, Version: s.hello.Version}
	s.mu.Lock()
	at.Program, at.Undo = s.current, s.undoing
	s.mu.Unlock()
	s.link.mu.Lock()
	at.From = s.link.base
	s.link.mu.Unlock()
	return &wire.Message{Welcome: &wire.Welcome{Min: wire.MinProtocol, Max: wire.MaxProtocol, Build: s.opts.Build,
		Platform: runtime.GOOS + "/" + runtime.GOARCH, Facts: s.machine.Facts(), Attached: at}}
}

// noteWork remembers what is being done, for one who attaches: without the arguments, which
// may hold what only its controller should see.
func (s *server) noteWork(p *wire.Program, undo bool) {
	if p != nil {
		bare := *p
		bare.Steps = withoutArgs(p.Steps)
		bare.Handlers = nil
		for _, h := range p.Handlers {
			bare.Handlers = append(bare.Handlers, wire.Handler{Name: h.Name, Steps: withoutArgs(h.Steps)})
		}
		p = &bare
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current, s.undoing = p, undo
}

func withoutArgs(steps []wire.Step) []wire.Step {
	out := append([]wire.Step(nil), steps...)
	for i := range out {
		out[i].Args = json.RawMessage("{}")
	}
	return out
}

// parted decides what the end of a connection means.
func (s *server) parted(gen int) {
	if !s.link.lost(gen) {
		return // another controller is there already
	}
	_, needed := s.link.attended()
	switch {
	case s.leaving.Load() || !s.link.lasting():
		s.stopSoon()
		s.end()
	case s.final.Load() && !s.busy.Load():
		s.linger()
	case s.guarding.Load():
		// The guard's deadline stands, and a controller that is gone cannot prove anything.
		s.stopSoon()
		s.end()
	case needed:
		s.escape(context.Background())
		s.endIn(s.hello.Reattach)
	case !s.busy.Load():
		s.end()
	}
}

// farewell is how long a run that has ended waits for a controller that may have missed
// the end of it. A new run does not have to wait that long.
const farewell = 30 * time.Second

// linger ends a run that has nothing more to do and no controller to tell.
func (s *server) linger() {
	if s.hello.Detach {
		s.end()
		return
	}
	s.endIn(min(s.hello.Reattach, farewell))
}

// endIn gives a controller that was lost some time to come back.
func (s *server) endIn(d time.Duration) {
	time.AfterFunc(d, func() {
		if there, _ := s.link.attended(); !there {
			s.stopSoon()
			s.end()
		}
	})
}

// end takes in no more work.
func (s *server) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		close(s.work)
		s.blobs.close()
	}
}

// front passes a talk on to the run that works on the host. It reports whether there
// is one.
func (s *server) front(payload []byte) bool {
	conn, err := s.knock()
	if err != nil {
		return false
	}
	defer conn.Close() //nolint:errcheck // the talk is over
	if err := wire.NewStream(conn, conn).WriteFrame(wire.JSON, payload); err != nil {
		return false
	}
	go func() {
		_, _ = io.Copy(conn, s.opts.In)
		_ = conn.(*net.UnixConn).CloseWrite()
	}()
	_, _ = io.Copy(s.opts.Out, conn)
	return true
}

func (s *server) knock() (net.Conn, error) {
	dir, err := s.stateDir()
	if err != nil {
		return nil, err
	}
	path, done := socketPath(dir)
	defer done()
	return net.DialTimeout("unix", path, greetLimit)
}

// displace ends a run that has lost its controller and does nothing, so that a new one
// need not wait for it to give up.
func (s *server) displace() bool {
	conn, err := s.knock()
	if err != nil {
		return false
	}
	defer conn.Close() //nolint:errcheck // the answer counts
	_ = conn.SetDeadline(time.Now().Add(greetLimit))
	stream := wire.NewStream(conn, conn)
	h := &wire.Hello{Min: wire.MinProtocol, Max: wire.MaxProtocol, Run: s.hello.Run, Mode: modeAttach, Attach: &wire.Attach{Action: wire.AttachYield}}
	if stream.Send(&wire.Message{Hello: h}) != nil {
		return false
	}
	kind, payload, err := stream.ReadFrame()
	if err != nil || kind != wire.JSON {
		return false
	}
	m, err := wire.DecodeMessage(payload)
	return err == nil && m.Welcome != nil
}
