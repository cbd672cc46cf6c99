package property_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"holdfast/runner/helper"
	"holdfast/runner/wire"
	"holdfast/tasks"
)

// stateVariable makes this program a helper with its memory in that folder.
const stateVariable = "HOLDFAST_PROPERTY_STATE"

func TestMain(m *testing.M) {
	dir := os.Getenv(stateVariable)
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := helper.Serve(context.Background(), helper.Options{Modules: tasks.All(), StateDir: dir, In: os.Stdin, Out: os.Stdout}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// talk is a helper in a process of its own.
type talk struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	stream *wire.Stream
	out    *bufio.Reader
}

// begin starts a helper and greets it.
func begin(state string, h wire.Hello) (*talk, *wire.Welcome, error) {
	t := &talk{cmd: exec.Command(os.Args[0])}
	t.cmd.Env = append(os.Environ(), stateVariable+"="+state)
	in, err := t.cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	out, err := t.cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := t.cmd.Start(); err != nil {
		return nil, nil, err
	}
	t.in, t.out = in, bufio.NewReader(out)
	if _, err := t.out.ReadString('\n'); err != nil {
		return t, nil, err
	}
	t.stream = wire.NewStream(t.out, in)
	h.Min, h.Max = wire.MinProtocol, wire.MaxProtocol
	if err := t.stream.Send(&wire.Message{Hello: &h}); err != nil {
		return t, nil, err
	}
	m, err := t.next()
	if err != nil {
		return t, nil, err
	}
	if m.Welcome == nil {
		return t, nil, fmt.Errorf("no welcome: %+v", m.Refused)
	}
	return t, m.Welcome, nil
}

func (t *talk) next() (*wire.Message, error) {
	_, payload, err := t.stream.ReadFrame()
	if err != nil {
		return nil, err
	}
	return wire.DecodeMessage(payload)
}

// end waits for the process. One that does not go is killed, which is an error.
func (t *talk) end() error {
	_ = t.in.Close()
	late := time.AfterFunc(time.Minute, func() { _ = t.cmd.Process.Kill() })
	_ = t.cmd.Wait()
	if !late.Stop() {
		return fmt.Errorf("a helper goes on after its input ended")
	}
	return nil
}

// said is what came of a program or an undo.
type said struct {
	results []wire.Result
	undone  []wire.Undone
	done    *wire.Done
	refused string
}

// hear reads until the helper is done or gone.
func (t *talk) hear() (s said) {
	for {
		m, err := t.next()
		switch {
		case err != nil:
			return s
		case m.Result != nil:
			s.results = append(s.results, *m.Result)
		case m.Undone != nil:
			s.undone = append(s.undone, *m.Undone)
		case m.Refused != nil:
			s.refused = m.Refused.Error
			return s
		case m.Done != nil:
			s.done = m.Done
			return s
		}
	}
}

// task is a module with its arguments.
type task struct {
	module string
	args   map[string]any
}

func (t task) String() string {
	b, _ := json.Marshal(t.args) // plain values
	return t.module + " " + string(b)
}

func program(list []task) *wire.Program {
	p := &wire.Program{ID: 1, Final: true, Flush: true}
	for i, t := range list {
		args, _ := json.Marshal(t.args) // plain values
		p.Steps = append(p.Steps, wire.Step{N: i + 1, Path: fmt.Sprintf("tasks[%d]", i), Name: t.module, Module: t.module, Args: args, Timeout: time.Minute})
	}
	return p
}
