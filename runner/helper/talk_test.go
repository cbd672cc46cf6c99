package helper_test

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/runner/helper"
	"holdfast/runner/journal"
	"holdfast/runner/wire"
	"holdfast/tasks/secret"
	"holdfast/tasks/task"
)

// TestMain makes this program a helper where a test starts it as one.
func TestMain(m *testing.M) {
	if dir := os.Getenv("HOLDFAST_TEST_STATE"); dir != "" {
		if err := helper.Serve(context.Background(), helper.Options{Modules: toys, StateDir: dir, In: os.Stdin, Out: os.Stdout}); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// hooks are what a toy does besides, by name. Tests put them in.
var hooks sync.Map

func hook(t *testing.T, f func(ctx context.Context, w task.Writer) error) string {
	t.Helper()
	name := fmt.Sprintf("%s-%p", t.Name(), &f)
	hooks.Store(name, f)
	t.Cleanup(func() { hooks.Delete(name) })
	return name
}

func fire(ctx context.Context, w task.Writer, name string) error {
	if f, ok := hooks.Load(name); ok {
		return f.(func(context.Context, task.Writer) error)(ctx, w)
	}
	return nil
}

type noteParams struct {
	Path    task.Path       `yaml:"path" doc:"The file." validate:"required"`
	Text    string          `yaml:"text" doc:"Its content." default:"text"`
	Secret  task.SecretText `yaml:"secret" doc:"Its content, if it is a secret."`
	Content *task.Blob      `yaml:"content" doc:"Its content, if it is large." blob:"text"`
	Hook    string          `yaml:"hook" doc:"What happens before it is written." default:""`
	Odd     string          `yaml:"odd" doc:"What goes wrong." default:""`
}

type noteState struct {
	Text string `yaml:"text" json:"text" doc:"The content."`
}

// note is a toy that keeps a file.
var note = task.New(task.Def[noteParams, noteState]{
	Name: "note", Doc: "# A file with a text.\n",
	Resource: func(p noteParams) string { return string(p.Path) },
	Observe: func(ctx context.Context, r task.Reader, p noteParams) (noteState, error) {
		switch p.Odd {
		case "observe":
			return noteState{}, errors.New("cannot look")
		case "unknown":
			return noteState{}, task.Unknownf("nobody knows %s", p.Path)
		}
		info, err := r.Stat(ctx, string(p.Path))
		if err != nil || !info.Exists() {
			return noteState{}, err
		}
		b, err := r.ReadFile(ctx, string(p.Path), 8<<20)
		return noteState{string(b)}, err
	},
	Diff: func(p noteParams, s noteState) []task.Change {
		switch {
		case p.Content != nil && task.DigestOf([]byte(s.Text)) != p.Content.Digest:
			return []task.Change{task.Set("content", "", "new")}
		case p.Content != nil:
			return nil
		case p.Secret.Reveal() != "" && s.Text != p.Secret.Reveal():
			return []task.Change{task.Set("secret", s.Text, p.Secret.Reveal())}
		case p.Secret.Reveal() == "" && s.Text != p.Text:
			c := task.Set("text", s.Text, p.Text)
			c.Diff = "-" + s.Text + "\n+" + p.Text + "\n"
			return []task.Change{c}
		}
		return nil
	},
	Apply: func(ctx context.Context, w task.Writer, p noteParams, _ noteState) error {
		if err := fire(ctx, w, p.Hook); err != nil {
			return err
		}
		data := []byte(p.Text)
		switch {
		case p.Odd == "apply":
			return errors.New("cannot write " + p.Text)
		case p.Odd == "settle":
			data = []byte("something else")
		case p.Content != nil:
			var err error
			if data, err = w.Blob(ctx, *p.Content); err != nil {
				return err
			}
		case p.Secret.Reveal() != "":
			data = []byte(p.Secret.Reveal())
		}
		return w.WriteFile(ctx, task.FileWrite{Path: string(p.Path), Data: data})
	},
})

type doParams struct {
	Cmd   string          `yaml:"cmd" doc:"A line for the shell." default:"true"`
	Hook  string          `yaml:"hook" doc:"What happens instead." default:""`
	Skip  string          `yaml:"skip" doc:"Why not to run." default:""`
	Quiet bool            `yaml:"quiet" doc:"Whether it says that it changed nothing." default:"false"`
	Reads bool            `yaml:"reads" doc:"Whether it only reads." default:"false"`
	Undo  *string         `yaml:"undo" doc:"A line that takes it back."`
	Token task.SecretText `yaml:"token" doc:"A secret for it."`
}

type doResult struct {
	Said string `yaml:"said" json:"said" doc:"What it printed."`
}

// tell is a toy that only tells people.
var tell = task.NewAction(task.ActionDef[struct{}, struct{}]{
	Name: "tell", Doc: "# Says something.\n", Tells: true,
	Resource: func(struct{}) string { return "tell" },
	Run:      func(context.Context, task.Writer, struct{}) (struct{}, error) { return struct{}{}, nil },
	Changed:  func(struct{}, struct{}) bool { return false },
})

// do is a toy that does something.
var do = task.NewAction(task.ActionDef[doParams, doResult]{
	Name: "do", Doc: "# A line for the shell.\n",
	Resource: func(doParams) string { return "do" },
	Reads:    func(p doParams) bool { return p.Reads },
	Skip:     func(_ context.Context, _ task.Reader, p doParams) (string, error) { return p.Skip, nil },
	Run: func(ctx context.Context, w task.Writer, p doParams) (doResult, error) {
		if p.Hook != "" {
			return doResult{}, fire(ctx, w, p.Hook)
		}
		run := w.Run
		if p.Reads {
			run = w.Query
		}
		out, err := run(ctx, task.Command{Argv: []string{"/bin/sh", "-c", p.Cmd}, Stream: true, Secrets: map[string]task.SecretText{"TOKEN": p.Token}})
		if err == nil && out.Status != 0 {
			err = fmt.Errorf("exit %d: %s", out.Status, out.Stderr)
		}
		return doResult{out.Stdout}, err
	},
	Changed: func(p doParams, _ doResult) bool { return !p.Quiet && !p.Reads },
	Undo: func(ctx context.Context, w task.Writer, p doParams, r doResult) error {
		_, err := w.Run(ctx, task.Command{Argv: []string{"/bin/sh", "-c", *p.Undo}, Env: map[string]string{"SAID": strings.TrimSpace(r.Said)}})
		return err
	},
	Reversible: func(p doParams) bool { return p.Undo != nil },
})

var toys = []*task.Module{note, do, tell}

// talk is a controller that talks to a helper.
type talk struct {
	t      *testing.T
	stream *wire.Stream
	in     io.Closer // ends the helper's input
	out    io.Closer // nobody listens any more
	heard  chan *wire.Message
	ended  chan error // what Serve answered
	blobs  map[string][]byte
	bytes  atomic.Int64 // that came since the last program was sent
	frames atomic.Int64
}

// begin starts a helper in this process. Its input ends with the test.
func begin(t *testing.T, state string) *talk {
	t.Helper()
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	c := &talk{t: t, in: inW, out: outR, heard: make(chan *wire.Message, 10_000), ended: make(chan error, 1), blobs: map[string][]byte{}}
	go func() {
		err := helper.Serve(context.Background(), helper.Options{Modules: toys, Build: "toy", StateDir: state, In: inR, Out: outW})
		_ = outW.Close()
		c.ended <- err
	}()
	c.listen(outR, inW)
	t.Cleanup(func() { _, _ = inW.Close(), inR.Close() })
	return c
}

// listen reads the magic and then what the helper says.
func (c *talk) listen(r io.Reader, w io.Writer) {
	c.t.Helper()
	out := bufio.NewReader(r)
	if line, err := out.ReadString('\n'); err != nil || line != wire.Magic+"1\n" {
		c.t.Fatalf("got %q, %v, want the magic line", line, err)
	}
	c.stream = wire.NewStream(out, w)
	go func() {
		defer close(c.heard)
		for {
			_, payload, err := c.stream.ReadFrame()
			if err != nil {
				return
			}
			m, err := wire.DecodeMessage(payload)
			if err != nil {
				c.t.Errorf("the helper said %.200q: %v", payload, err)
				return
			}
			c.bytes.Add(int64(len(payload)) + 5)
			c.frames.Add(1)
			c.heard <- m
		}
	}()
}

func (c *talk) say(m *wire.Message) {
	c.t.Helper()
	if err := c.stream.Send(m); err != nil {
		c.t.Fatalf("Send: %v", err)
	}
}

// hear returns the next message, or nil when the helper says no more.
func (c *talk) hear() *wire.Message {
	c.t.Helper()
	select {
	case m := <-c.heard:
		return m
	case <-time.After(20 * time.Second):
		c.t.Fatal("the helper says nothing")
		return nil
	}
}

var runs = 0

// hello shakes hands in a mode, for a run with a name of its own.
func (c *talk) hello(mode string) *wire.Welcome {
	c.t.Helper()
	runs++
	return c.helloAs(wire.Hello{Run: fmt.Sprintf("r%03d", runs), Mode: mode})
}

func (c *talk) helloAs(h wire.Hello) *wire.Welcome {
	c.t.Helper()
	h.Min, h.Max = 1, 1
	if h.Playbook == "" {
		h.Playbook = "site"
	}
	h.Controller, h.User, h.Command = "bastion", "ann", "holdfast "+h.Mode
	c.say(&wire.Message{Hello: &h})
	m := c.hear()
	if m == nil || m.Welcome == nil {
		c.t.Fatalf("got %+v, want a welcome", m)
	}
	return m.Welcome
}

// answer is all that came of a program.
type answer struct {
	started  []wire.Started
	results  []wire.Result
	progress []string
	warnings []string
	undone   []wire.Undone
	refused  *wire.Refused
	done     *wire.Done
}

func (a *answer) statuses() string {
	var out []string
	for _, r := range a.results {
		out = append(out, r.Status)
	}
	return strings.Join(out, " ")
}

// run ships a program and takes in the answers.
func (c *talk) run(p *wire.Program) *answer {
	c.t.Helper()
	c.bytes.Store(0)
	c.frames.Store(0)
	c.say(&wire.Message{Program: p})
	return c.rest()
}

// rest takes in what is still to come of a program.
func (c *talk) rest() *answer {
	c.t.Helper()
	a := &answer{}
	for {
		m := c.hear()
		switch {
		case m == nil:
			return a
		case m.Started != nil:
			a.started = append(a.started, *m.Started)
		case m.Result != nil:
			a.results = append(a.results, *m.Result)
		case m.Progress != nil:
			a.progress = append(a.progress, m.Progress.Message)
		case m.Warning != nil:
			a.warnings = append(a.warnings, m.Warning.Message)
		case m.Undone != nil:
			a.undone = append(a.undone, *m.Undone)
		case m.NeedBlob != nil:
			c.give(m.NeedBlob.Digest)
		case m.Refused != nil:
			a.refused = m.Refused
			return a
		case m.Done != nil:
			a.done = m.Done
			return a
		}
	}
}

func (c *talk) give(digest string) {
	c.t.Helper()
	data, ok := c.blobs[digest]
	if !ok {
		c.say(&wire.Message{NoBlob: &wire.NoBlob{Digest: digest, Error: "no such content"}})
		return
	}
	sum, err := hex.DecodeString(digest)
	if err == nil {
		err = c.stream.SendBlob([32]byte(sum), data)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// end closes the helper's input and returns what Serve answers.
func (c *talk) end() error {
	c.t.Helper()
	_ = c.in.Close()
	select {
	case err := <-c.ended:
		return err
	case <-time.After(20 * time.Second):
		c.t.Fatal("the helper does not end")
		return nil
	}
}

// steps makes steps of modules and arguments, counted from 1: "note {...}".
func steps(lines ...string) []wire.Step {
	var out []wire.Step
	for i, line := range lines {
		module, args, _ := strings.Cut(line, " ")
		out = append(out, wire.Step{N: i + 1, Path: fmt.Sprintf("tasks[%d]", i), Name: fmt.Sprintf("step %d", i+1), Module: module,
			Args: json.RawMessage(args), Timeout: 10 * time.Second})
	}
	return out
}

// one is a run with one program, from hello to the end.
func one(t *testing.T, state, mode string, p *wire.Program) *answer {
	t.Helper()
	c := begin(t, state)
	c.hello(mode)
	if p.ID == 0 {
		p.ID = 1
	}
	p.Final = true
	a := c.run(p)
	if err := c.end(); err != nil && a.refused == nil {
		t.Errorf("Serve: %v", err)
	}
	return a
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(b)
}

// pendingOf returns what is on the host's to-do, as playbook/handler.
func pendingOf(t *testing.T, state string) []string {
	t.Helper()
	s, err := journal.Open(state)
	if err != nil {
		t.Fatal(err)
	}
	list, err := s.Pending()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, h := range list {
		out = append(out, h.Playbook+"/"+h.Name)
	}
	return out
}

// last returns the newest run that the host remembers, or nil.
func last(t *testing.T, state string) *journal.Record {
	t.Helper()
	s, err := journal.Open(state)
	if err != nil {
		t.Fatal(err)
	}
	infos, err := s.Runs()
	if err != nil || len(infos) == 0 {
		t.Fatalf("got %d runs, %v", len(infos), err)
	}
	rec, err := s.Load(infos[len(infos)-1].ID)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// place returns a folder for files and one for the state, which is not there yet.
func place(t *testing.T) (dir, state string) {
	t.Helper()
	base := t.TempDir()
	dir = filepath.Join(base, "files")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir, filepath.Join(base, "state")
}

func noteArgs(dir, name string, more ...string) string {
	return fmt.Sprintf(`note {"path":%q%s}`, filepath.Join(dir, name), strings.Join(append([]string{""}, more...), ","))
}

// tokens gives secrets to a helper ahead of a program.
func (c *talk) tokens(texts ...string) {
	c.t.Helper()
	plain := map[string]string{}
	for i, text := range texts {
		plain[fmt.Sprint(i+1)] = secret.New(text).Reveal()
	}
	b, err := json.Marshal(plain)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := c.stream.WriteFrame(wire.Secrets, b); err != nil {
		c.t.Fatal(err)
	}
}

func sorted(list []string) []string {
	out := slices.Clone(list)
	slices.Sort(out)
	return out
}
