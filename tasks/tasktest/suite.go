package tasktest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/playbooks/source/yamlfile"
	"holdfast/tasks/task"
)

// Suite holds a module against what all modules promise. It runs the examples of
// the module's document, each alone and all in a row, on the host that [NewHost]
// makes: so examples are about things that are there or that they bring themselves.
func Suite(t *testing.T, m *task.Module) {
	t.Helper()
	examples := examplesOf(t, m)
	t.Run("document", func(t *testing.T) { checkDocument(t, m, examples) })
	for i, e := range examples {
		t.Run(fmt.Sprintf("example %d", i+1), func(t *testing.T) {
			runs(t, "life", func(t *testing.T) { checkLife(t, m, e) })
			runs(t, "nth call fails", func(t *testing.T) { checkFailures(t, m, e) })
			runs(t, "cancelled", func(t *testing.T) { checkCancelled(t, m, e) })
			if hasBlob(m) {
				e.secretContent = true
				runs(t, "secret content", func(t *testing.T) { checkLife(t, m, e) })
			}
		})
	}
	runs(t, "all examples in a row", func(t *testing.T) { checkSequence(t, m, examples) })
}

// runs runs a check under a clock of its own, so that whoever waits does so in no time.
func runs(t *testing.T, name string, check func(*testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, check) })
}

// example is one task of a document that uses the module.
type example struct {
	text          string // the fenced block
	index         int    // of the task in it
	secretContent bool
}

func examplesOf(t testing.TB, m *task.Module) []example {
	t.Helper()
	var out []example
	for _, text := range m.Doc.Examples {
		n, faults := yamlfile.Parse("doc.md", []byte(text))
		if err := faults.Err(); err != nil {
			t.Fatalf("an example of %s is not YAML: %v\n%s", m.Name, err, text)
		}
		for i, item := range n.Items {
			if item.Get(m.Name) != nil {
				out = append(out, example{text: text, index: i})
			}
		}
	}
	if len(out) == 0 {
		t.Fatalf("doc.md of %s has no example that uses it; under \"## Examples\" want fenced yaml lists of tasks", m.Name)
	}
	return out
}

func (e example) bind(t testing.TB, h *Host, m *task.Module) *task.Bound {
	t.Helper()
	n, _ := yamlfile.Parse("doc.md", []byte(e.text))
	b, err := bindNode(h, m, n.Items[e.index].Get(m.Name), e.secretContent)
	if err != nil {
		t.Fatalf("an example of %s is wrong: %v\n%s", m.Name, err, e.text)
	}
	if b.Resource == "" {
		t.Errorf("%s names no resource for\n%s", m.Name, e.text)
	}
	return b
}

func checkDocument(t testing.TB, m *task.Module, examples []example) {
	if len(m.Doc.Summary) > 120 || !strings.HasSuffix(m.Doc.Summary, ".") {
		t.Errorf("summary %q: want one sentence of at most 120 characters", m.Doc.Summary)
	}
	if !strings.Contains(m.Doc.Text, "\n## Notes\n") {
		t.Errorf("doc.md of %s has no section Notes", m.Name)
	}
	for _, f := range m.Params {
		if holdsSecret(&f) && !anyUses(m, examples, f.Name) {
			t.Errorf("no example of %s sets %s, so nothing shows that it stays secret", m.Name, f.Name)
		}
	}
}

func anyUses(m *task.Module, examples []example, field string) bool {
	for _, e := range examples {
		n, _ := yamlfile.Parse("doc.md", []byte(e.text))
		if n.Items[e.index].Get(m.Name).Get(field) != nil {
			return true
		}
	}
	return false
}

func holdsSecret(f *task.Field) bool {
	t := f.Type
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	for i := range f.Fields {
		if holdsSecret(&f.Fields[i]) {
			return true
		}
	}
	return t == reflect.TypeFor[task.SecretText]()
}

func hasBlob(m *task.Module) bool {
	for _, f := range m.Params {
		if f.Type == reflect.TypeFor[task.Blob]() {
			return true
		}
	}
	return false
}

// checkLife takes an example through all that happens to a task: looked at
// twice, applied, looked at again, taken back.
func checkLife(t testing.TB, m *task.Module, e example) {
	h := NewHost()
	r := &runner{h: h, m: m, b: e.bind(t, h, m)}
	before := h.Snapshot()
	if r.b.Observe != nil {
		checkObserve(t, r)
	}
	if err := r.apply(t.Context()); err != nil {
		t.Fatalf("%s of %s: %v", m.Name, r.b.Resource, err)
	}
	checkRecord(t, r)
	if r.b.Observe != nil {
		h.Forget()
		if err := r.apply(t.Context()); err != nil {
			t.Errorf("the second apply of %s: %v", r.b.Resource, err)
		}
		if w := h.Writes(); len(w) > 0 {
			t.Errorf("the second apply of %s writes: %v", r.b.Resource, w)
		}
	}
	r.undo(t)
	compare(t, before, h.Snapshot())
}

func checkObserve(t testing.TB, r *runner) {
	t.Helper()
	_, first, err := r.b.Observe(t.Context(), r.h)
	if err != nil {
		t.Fatalf("cannot observe %s: %v", r.b.Resource, err)
	}
	_, second, err := r.b.Observe(t.Context(), r.h)
	if err != nil || !reflect.DeepEqual(first, second) {
		t.Errorf("two looks at %s differ: %v, then %v (%v)", r.b.Resource, first, second, err)
	}
	if w := r.h.Writes(); len(w) > 0 {
		t.Errorf("observing %s writes: %v", r.b.Resource, w)
	}
	r.h.Forget()
}

// checkRecord looks at what an applied task did and showed.
func checkRecord(t testing.TB, r *runner) {
	t.Helper()
	writes := r.h.Writes()
	if len(r.changes) > 0 && len(writes) == 0 {
		t.Errorf("%s changes %v without a write", r.b.Resource, r.changes)
	}
	if (r.m.ReadOnly || r.m.Wait) && len(writes) > 0 {
		t.Errorf("%s is read-only and writes: %v", r.m.Name, writes)
	}
	for _, c := range writes {
		if c.Method == "run" && !r.m.HasUndo && r.m.Irreversible == "" {
			t.Errorf("%s runs commands and has neither Undo nor Irreversible", r.m.Name)
		}
	}
	if r.state != nil {
		survivesJSON(t, r.state)
	}
	checkSecrets(t, r)
}

// survivesJSON checks that nothing is lost when a state is stored and read.
func survivesJSON(t testing.TB, state any) {
	t.Helper()
	first, err := json.Marshal(state)
	if err != nil {
		t.Fatalf("the state does not marshal: %v", err)
	}
	again := reflect.New(reflect.TypeOf(state))
	if err := json.Unmarshal(first, again.Interface()); err != nil {
		t.Fatalf("the state %s does not come back: %v", first, err)
	}
	second, err := json.Marshal(again.Elem().Interface())
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("the state %s comes back as %s (%v)", first, second, err)
	}
}

// checkSecrets looks for the canary wherever somebody could see it.
func checkSecrets(t testing.TB, r *runner) {
	t.Helper()
	state, err := json.Marshal(r.state)
	if err != nil {
		t.Fatalf("the state does not marshal: %v", err)
	}
	shown := []any{r.changes, r.err, string(state), r.b.Resource, strings.Join(r.h.progress, "\n")}
	for _, c := range r.h.Calls() {
		shown = append(shown, c.Subject)
		switch args := c.Args.(type) {
		case task.Command:
			shown = append(shown, args.Argv, args.Env, args.Dir)
		case task.Request:
			shown = append(shown, args.URL, args.Header, args.Proxy)
		case task.Download:
			shown = append(shown, args.Request.URL, args.Request.Header)
		case task.Unpack:
			for _, part := range args.Parts {
				if part.Request != nil {
					shown = append(shown, part.Request.URL, part.Request.Header)
				}
			}
		case task.FileWrite:
			shown = append(shown, args.Validate)
			if bytes.Contains(args.Data, []byte(Canary)) && !args.Secret {
				t.Errorf("%s writes a secret to %s without saying so", r.m.Name, args.Path)
			}
		}
	}
	for _, s := range shown {
		if text := fmt.Sprintf("%+v", s); strings.Contains(text, Canary) {
			t.Errorf("%s shows a secret: %s", r.m.Name, text)
		}
	}
}

// checkFailures lets each call of an example's life fail in turn.
func checkFailures(t testing.TB, m *task.Module, e example) {
	h := NewHost()
	clean := &runner{h: h, m: m, b: e.bind(t, h, m)}
	if err := clean.apply(t.Context()); err != nil {
		t.Fatalf("%s of %s: %v", m.Name, clean.b.Resource, err)
	}
	for n := range clean.h.Calls() {
		h := NewHost()
		r := &runner{h: h, m: m, b: e.bind(t, h, m)}
		before := h.Snapshot()
		h.FailAt(n + 1)
		err := r.apply(t.Context())
		calls := h.Calls()
		if len(calls) <= n {
			t.Fatalf("call %d of %s was not made: the module does not do the same twice", n+1, r.b.Resource)
		}
		failed := calls[n]
		checkFailure(t, r, failed, err)
		checkSecrets(t, r)
		h.FailAt(0)
		r.undo(t)
		compare(t, before, h.Snapshot())
	}
}

func checkFailure(t testing.TB, r *runner, failed Call, err error) {
	t.Helper()
	switch {
	case err == nil && (r.m.Wait || triedAgain(r.h.Calls(), failed)):
	case err == nil:
		t.Errorf("%s of %s hides that the host cannot %s %s", r.m.Name, r.b.Resource, failed.Method, failed.Subject)
	case !errors.Is(err, ErrInjected):
		t.Errorf("the failure to %s %s became another: %v", failed.Method, failed.Subject, err)
	case !strings.Contains(err.Error(), r.b.Resource) && (failed.Subject == "content" || !strings.Contains(err.Error(), failed.Subject)):
		t.Errorf("the failure names neither %s nor %s: %v", r.b.Resource, failed.Subject, err)
	}
}

// triedAgain reports whether the call that failed was made once more.
func triedAgain(calls []Call, failed Call) bool {
	n := 0
	for _, c := range calls {
		if c.Method == failed.Method && c.Subject == failed.Subject {
			n++
		}
	}
	return n > 1
}

func checkCancelled(t testing.TB, m *task.Module, e example) {
	h := NewHost()
	r := &runner{h: h, m: m, b: e.bind(t, h, m)}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	start := time.Now()
	if err := r.apply(ctx); err == nil && usesHost(t, m, e) {
		t.Errorf("%s of %s does not notice that it was cancelled", m.Name, r.b.Resource)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("%s takes %s to notice that it was cancelled", m.Name, took)
	}
}

func usesHost(t testing.TB, m *task.Module, e example) bool {
	t.Helper()
	h := NewHost()
	r := &runner{h: h, m: m, b: e.bind(t, h, m)}
	return r.apply(t.Context()) == nil && len(h.Calls()) > 0
}

// checkSequence runs all examples on one host and takes them back, last first.
func checkSequence(t testing.TB, m *task.Module, examples []example) {
	h := NewHost()
	before := h.Snapshot()
	var done []*runner
	changed := m.Action
	for _, e := range examples {
		r := &runner{h: h, m: m, b: e.bind(t, h, m)}
		if err := r.apply(t.Context()); err != nil {
			t.Fatalf("%s of %s, after the other examples: %v", m.Name, r.b.Resource, err)
		}
		changed = changed || len(r.changes) > 0
		done = append(done, r)
	}
	if !changed {
		t.Errorf("no example of %s changes anything on a fresh host", m.Name)
	}
	for i := len(done) - 1; i >= 0; i-- {
		done[i].undoCommands(t)
	}
	h.Restore()
	compare(t, before, h.Snapshot())
}

// compare names the first line that differs.
func compare(t testing.TB, before, after []byte) {
	t.Helper()
	if bytes.Equal(before, after) {
		return
	}
	b, a := strings.Split(string(before), "\n"), strings.Split(string(after), "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			t.Errorf("taken back, the host differs from before in line %d: got %s, want %s", i+1, a[i], b[i])
			return
		}
	}
	t.Errorf("taken back, the host has %d lines of state, want %d", len(a), len(b))
}
