package runner_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"holdfast/tasks/task"
)

// world is one fake host: what the toy modules see and do there.
type world struct {
	name string
	dir  string // of the helper's memory

	mu       sync.Mutex
	values   map[string]string
	log      []string // what was done, in order
	calls    map[string]int64
	programs int // that came over the wire

	gate     chan struct{} // closed to let a hold end
	reached  chan struct{} // closed when a hold begins
	reaching sync.Once
}

func newWorld(t testing.TB, name string) *world {
	return &world{name: name, dir: filepath.Join(t.TempDir(), "state"), values: map[string]string{}, calls: map[string]int64{},
		gate: make(chan struct{}), reached: make(chan struct{})}
}

func (w *world) did(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, fmt.Sprintf(format, args...))
}

// done returns what was done since the last call.
func (w *world) done() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := strings.Join(w.log, ", ")
	w.log = nil
	return out
}

func (w *world) get(key string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.values[key]
}

type putParams struct {
	Key    string          `yaml:"key" validate:"required" doc:"What to set."`
	Value  string          `yaml:"value" default:"on" doc:"To what."`
	Fail   bool            `yaml:"fail" default:"false" doc:"Whether it goes wrong."`
	Stuck  bool            `yaml:"stuck" default:"false" doc:"Whether nothing comes of it."`
	Secret task.SecretText `yaml:"secret" doc:"Something to hide."`
	Text   *task.Blob      `yaml:"text" blob:"text" doc:"Content."`
}

type putState struct {
	Value string `yaml:"value" json:"value" doc:"What it is."`
	Size  int64  `yaml:"size" json:"size" doc:"How long it is."`
}

// put is a state: a key has a value.
func put(w *world) *task.Module {
	return task.New(task.Def[putParams, putState]{
		Name: "put", Doc: "Puts.", Resource: func(p putParams) string { return p.Key },
		Observe: func(_ context.Context, _ task.Reader, p putParams) (putState, error) {
			v := w.get(p.Key)
			return putState{v, int64(len(v))}, nil
		},
		Diff: func(p putParams, s putState) []task.Change {
			if s.Value == p.Value {
				return nil
			}
			return []task.Change{task.Set("value", s.Value, p.Value)}
		},
		Apply: func(ctx context.Context, wr task.Writer, p putParams, s putState) error {
			if strings.Contains(fmt.Sprintf("%T", wr), "verlay") {
				return nil // a plan
			}
			if p.Fail {
				w.did("put %s failed", p.Key)
				return errors.New("no room")
			}
			if p.Text != nil {
				if _, err := wr.Blob(ctx, *p.Text); err != nil {
					return err
				}
			}
			w.did("put %s=%s", p.Key, p.Value)
			if p.Stuck {
				return nil
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			w.values[p.Key] = p.Value
			return nil
		},
	})
}

type sayParams struct {
	Text    string   `yaml:"text" validate:"required" doc:"What to say."`
	Fail    bool     `yaml:"fail" default:"false" doc:"Whether it goes wrong."`
	FailFor int64    `yaml:"fail_for" default:"0" doc:"How many times it goes wrong."`
	Words   []string `yaml:"words" doc:"More to say."`
	Hold    bool     `yaml:"hold" default:"false" doc:"Whether it waits to be let go."`
	Quiet   bool     `yaml:"quiet" default:"false" doc:"Whether it says that nothing changed."`
}

type sayResult struct {
	Text  string   `yaml:"text" json:"text" doc:"What was said."`
	Times int64    `yaml:"times" json:"times" doc:"How often it was said."`
	Words []string `yaml:"words" json:"words" doc:"The rest."`
}

// say is an action that is opaque.
func say(w *world) *task.Module {
	return task.NewAction(task.ActionDef[sayParams, sayResult]{
		Name: "say", Doc: "Says.", Irreversible: "words are said", Resource: func(p sayParams) string { return p.Text },
		Run: func(ctx context.Context, _ task.Writer, p sayParams) (sayResult, error) {
			if p.Hold {
				w.reaching.Do(func() { close(w.reached) })
				select {
				case <-w.gate:
				case <-ctx.Done():
					w.did("say %s ended", p.Text)
					return sayResult{}, ctx.Err()
				}
			}
			w.mu.Lock()
			w.calls[p.Text]++
			n := w.calls[p.Text]
			w.mu.Unlock()
			if p.Fail || n <= p.FailFor {
				w.did("say %s failed", p.Text)
				return sayResult{}, errors.New("hoarse")
			}
			w.did("say %s", p.Text)
			return sayResult{p.Text, n, p.Words}, nil
		},
		Changed: func(p sayParams, _ sayResult) bool { return !p.Quiet },
	})
}

type lookParams struct {
	Key  string `yaml:"key" validate:"required" doc:"What to look at."`
	Want string `yaml:"want" default:"" doc:"What it must be."`
}

// look is an action that only reads.
func look(w *world) *task.Module {
	return task.NewAction(task.ActionDef[lookParams, putState]{
		Name: "look", Doc: "Looks.", ReadOnly: true, Resource: func(p lookParams) string { return p.Key },
		Run: func(_ context.Context, _ task.Writer, p lookParams) (putState, error) {
			v := w.get(p.Key)
			w.did("look %s", p.Key)
			if p.Want != "" && p.Want != v {
				return putState{}, fmt.Errorf("it is %q", v)
			}
			return putState{v, int64(len(v))}, nil
		},
	})
}

type writeParams struct {
	Path task.Path `yaml:"path" validate:"required" doc:"The file."`
}

// write is a state of the machine that we run on, so that it can be taken back.
func write() *task.Module {
	return task.New(task.Def[writeParams, putState]{
		Name: "write", Doc: "Writes.", Resource: func(p writeParams) string { return string(p.Path) },
		Observe: func(ctx context.Context, r task.Reader, p writeParams) (putState, error) {
			info, err := r.Stat(ctx, string(p.Path))
			return putState{Value: string(info.Kind)}, err
		},
		Diff: func(_ writeParams, s putState) []task.Change {
			if s.Value == string(task.KindFile) {
				return nil
			}
			return []task.Change{task.Set("path", s.Value, "file")}
		},
		Apply: func(ctx context.Context, w task.Writer, p writeParams, _ putState) error {
			return w.WriteFile(ctx, task.FileWrite{Path: string(p.Path), Data: []byte("x")})
		},
	})
}

// cry is an action that only tells people.
func cry(w *world) *task.Module {
	return task.NewAction(task.ActionDef[struct{}, struct{}]{
		Name: "cry", Doc: "Tells all.", Tells: true, Resource: func(struct{}) string { return "all" },
		Run: func(context.Context, task.Writer, struct{}) (struct{}, error) {
			w.did("cry")
			return struct{}{}, nil
		},
		Changed: func(struct{}, struct{}) bool { return false },
	})
}

func toys(w *world) []*task.Module { return []*task.Module{put(w), say(w), look(w), cry(w), write()} }

func names(modules []*task.Module) []string {
	var out []string
	for _, m := range modules {
		out = append(out, m.Name)
	}
	slices.Sort(out)
	return out
}
