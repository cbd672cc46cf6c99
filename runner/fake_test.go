package runner_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/inventory"
	"holdfast/playbooks/lang"
	"holdfast/playbooks/source"
	"holdfast/playbooks/source/yamlfile"
	"holdfast/runner"
	"holdfast/runner/event"
	"holdfast/runner/helper"
	"holdfast/runner/load"
	"holdfast/runner/remote"
	"holdfast/runner/wire"
	"holdfast/tasks/secret"
	"holdfast/tasks/task"
)

// fake is a connection to a helper in this process, with the toy modules.
type fake struct {
	w       *world
	modules []*task.Module // the toys, if there are none
	// answers sees every message of the helper and returns what arrives in its place;
	// false cuts the connection.
	answers func(m *wire.Message) (*wire.Message, bool)
	kill    <-chan struct{} // closed: the connection ends
	wg      sync.WaitGroup
	wasCut  atomic.Bool // what works on the host outlives the connection
}

func (c *fake) Describe() remote.Endpoint {
	return remote.Endpoint{Host: c.w.name, Address: "fake", User: "root", Local: true}
}

func (c *fake) Close() error {
	if c.wasCut.Load() {
		return nil
	}
	c.wg.Wait()
	return nil
}

func (c *fake) Start(context.Context, string) (remote.Process, error) {
	p := &process{ended: make(chan struct{})}
	p.inR, p.inW = io.Pipe()
	p.outR, p.outW = io.Pipe()
	p.errR, p.errW = io.Pipe()
	c.wg.Go(func() {
		c.far(p)
		p.end()
	})
	go func() {
		select {
		case <-c.kill:
			c.cut(p)
		case <-p.ended:
		}
	}()
	return p, nil
}

// cut ends the connection as a cable does: what runs on the host does not end with it.
func (c *fake) cut(p *process) {
	c.wasCut.Store(true)
	p.end()
}

// far plays the target: a shell that reads two lines, and then the helper, behind
// relays that count and change what passes.
func (c *fake) far(p *process) {
	in := bufio.NewReader(p.inR)
	for range 2 {
		if _, err := in.ReadString('\n'); err != nil {
			return
		}
	}
	toHelper, fromNear := io.Pipe()
	fromHelper, toNear := io.Pipe()
	var wg sync.WaitGroup
	wg.Go(func() {
		c.forward(in, fromNear)
		_ = fromNear.Close()
	})
	wg.Go(func() {
		if c.back(fromHelper, p.outW) {
			c.cut(p)
		}
		p.hangUp()
		_, _ = io.Copy(io.Discard, fromHelper)
	})
	if c.modules == nil {
		c.modules = toys(c.w)
	}
	_ = helper.Serve(context.Background(), helper.Options{Modules: c.modules, StateDir: c.w.dir, In: toHelper, Out: toNear})
	_ = toNear.Close()
	_ = toHelper.Close()
	wg.Wait()
}

func (c *fake) forward(in io.Reader, out io.Writer) {
	s := wire.NewStream(in, out)
	for {
		kind, payload, err := s.ReadFrame()
		if err != nil {
			return
		}
		if m, err := wire.DecodeMessage(payload); kind == wire.JSON && err == nil && m.Program != nil {
			c.w.mu.Lock()
			c.w.programs++
			c.w.mu.Unlock()
		}
		if s.WriteFrame(kind, payload) != nil {
			return
		}
	}
}

// back passes on what the helper says and reports whether the connection was cut.
func (c *fake) back(in io.Reader, out io.Writer) (cut bool) {
	r := bufio.NewReader(in)
	magic, err := r.ReadString('\n')
	if err != nil {
		return false
	}
	_, _ = io.WriteString(out, magic)
	s := wire.NewStream(r, out)
	for {
		kind, payload, err := s.ReadFrame()
		if err != nil {
			return false
		}
		if c.answers == nil {
			if s.WriteFrame(kind, payload) != nil {
				return false
			}
			continue
		}
		m, err := wire.DecodeMessage(payload)
		if err != nil {
			return false
		}
		m, ok := c.answers(m)
		if !ok {
			return true
		}
		if m != nil && s.Send(m) != nil {
			return false
		}
	}
}

type process struct {
	inR, outR, errR *io.PipeReader
	inW, outW, errW *io.PipeWriter
	ended           chan struct{}
	once            sync.Once
}

func (p *process) end() {
	p.once.Do(func() {
		p.hangUp()
		close(p.ended)
	})
}

func (p *process) Stdin() io.WriteCloser { return p.inW }
func (p *process) Stdout() io.Reader     { return p.outR }
func (p *process) Stderr() io.Reader     { return p.errR }
func (p *process) hangUp()               { _, _, _ = p.outW.Close(), p.errW.Close(), p.inR.Close() }

func (p *process) Wait() (int, error) {
	<-p.ended
	return 0, nil
}

func (p *process) Abandon() error {
	p.end()
	return nil
}

func (p *process) Close() error {
	_ = p.inW.Close()
	select {
	case <-p.ended:
	case <-time.After(200 * time.Millisecond):
		p.end()
	}
	return nil
}

// recorder keeps the events of a run.
type recorder struct {
	mu   sync.Mutex
	list []event.Event
}

func (r *recorder) Emit(e event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, e)
}

// play is a run to make.
type play struct {
	text    string            // the playbook, without its head
	uses    map[string]string // other playbooks by name
	hosts   []*world
	mode    event.Mode
	params  map[string]string
	secrets map[string]string
	forks   int
	stop    chan struct{}
	ctx     context.Context //nolint:containedctx // a test's input
	// answers of each host, see fake.
	answers map[string]func(m *wire.Message) (*wire.Message, bool)
	// unreachable hosts, with their error.
	unreachable map[string]error
	id          string
	modules     []*task.Module // the toys, if there are none
	near        *world         // the controller
	reattach    time.Duration
	detach      bool
	attach      string
	kill        chan struct{} // closed: all connections end, and there are no more
}

// outcome is what came of a run.
type outcome struct {
	runner.Options
	fin    event.RunFinished
	events []event.Event
}

const head = "playbook: toys\nversion: 1.0.0\n"

func (p play) known() []*task.Module {
	if p.modules != nil {
		return p.modules
	}
	return toys(nil)
}

func (p play) parse(t testing.TB, name, text string) *lang.Playbook {
	t.Helper()
	root, faults := yamlfile.Parse(name+".yml", []byte(head+text))
	if len(faults) == 0 {
		var pb *lang.Playbook
		if pb, faults = lang.Parse(root, name+".yml", lang.Options{Modules: names(p.known())}); len(faults) == 0 {
			pb.Name, pb.Digest = name, name
			return pb
		}
	}
	t.Fatalf("cannot read %s: %v", text, faults)
	return nil
}

func compile(t testing.TB, p play) *load.Playbook {
	t.Helper()
	find := func(name string) (*lang.Playbook, source.Faults) {
		text, ok := p.uses[name]
		if !ok {
			return nil, source.Faults{{Message: fmt.Sprintf("no playbook is called %q", name)}}
		}
		return p.parse(t, name, text), nil
	}
	pb, faults := load.Compile(p.parse(t, "toys", p.text), load.Options{Modules: p.known(), Find: find, Version: "1.0.0"})
	if len(faults) > 0 {
		t.Fatalf("faults in %s\n%v", p.text, faults)
	}
	return pb
}

func hostsOf(worlds []*world) []*inventory.Host {
	var out []*inventory.Host
	for _, w := range worlds {
		out = append(out, &inventory.Host{Name: w.name, Address: w.name, Labels: map[string]string{"name": w.name}})
	}
	return out
}

// options prepares a run.
func (p play) options(t testing.TB, sink event.Sink) runner.Options {
	t.Helper()
	if p.mode == "" {
		p.mode = event.Apply
	}
	if p.id == "" {
		p.id = runner.NewID(time.Now())
	}
	params := map[string]*source.Node{}
	for name, text := range p.params {
		_, n, fault := load.ParseFlag(name+"="+text, yamlfile.Parse)
		if fault != nil {
			t.Fatal(fault)
		}
		params[name] = n
	}
	blobs := load.NewBlobs()
	pb := compile(t, p)
	worlds := map[string]*world{}
	for _, w := range p.hosts {
		worlds[w.name] = w
	}
	hosts := hostsOf(p.hosts)
	bound, faults := load.Bind(pb, hosts, load.BindOptions{Params: params, Blobs: blobs, Secret: func(_ *inventory.Host, name string) (secret.Text, error) {
		if text, ok := p.secrets[name]; ok {
			return secret.New(text), nil
		}
		return secret.Text{}, errors.New("there is none")
	}})
	if len(faults) > 0 {
		t.Fatalf("faults in %s\n%v", p.text, faults)
	}
	session := remote.Options{Binaries: remote.Binaries{{Platform: "linux/amd64", Name: "fake", Hash: "0", Gzip: func() ([]byte, error) { return nil, errors.New("no") }}},
		Setup: 10 * time.Second, Grace: 5 * time.Second}
	return runner.Options{ID: p.id, Mode: p.mode, Playbook: pb, Bound: bound, Hosts: hosts, Blobs: blobs, Forks: p.forks, Sink: sink, Stop: p.stop,
		Connect: func(_ context.Context, h *inventory.Host) (remote.Conn, error) {
			if err := p.unreachable[h.Name]; err != nil {
				return nil, err
			}
			select {
			case <-p.kill:
				return nil, errors.New("no route")
			default:
			}
			c := &fake{w: worlds[h.Name], answers: p.answers[h.Name], modules: p.modules, kill: p.kill}
			c.wasCut.Store(p.detach)
			t.Cleanup(c.wg.Wait) // before the folder of its world goes
			return c, nil
		},
		Reattach: p.reattach, Detach: p.detach, Attach: p.attach,
		Near: func(context.Context) (remote.Conn, remote.Options, error) {
			if p.near == nil {
				return nil, remote.Options{}, errors.New("no controller")
			}
			return &fake{w: p.near, modules: p.modules}, session, nil
		},
		Session: func(*inventory.Host) remote.Options { return session }}
}

// run makes the run and holds its stream to the rules.
func run(t testing.TB, p play) outcome {
	t.Helper()
	if p.ctx == nil {
		p.ctx = context.Background()
	}
	rec := &recorder{}
	opts := p.options(t, rec)
	fin := runner.Run(p.ctx, opts)
	checkStream(t, rec.list, fin)
	return outcome{opts, fin, rec.list}
}
