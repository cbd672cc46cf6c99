package tasktest

import (
	"context"
	"fmt"
	"path"
	"reflect"
	"strings"
	"testing"

	"holdfast/playbooks/source"
	"holdfast/playbooks/source/yamlfile"
	"holdfast/tasks/secret"
	"holdfast/tasks/task"
)

// Canary is the value of every secret in examples and arguments. It must never
// show up where people or files could see it.
const Canary = "canary-5ecret-4711"

// Bind gives a module its arguments, written in YAML as in a playbook. In place
// of a secret stands ${secret("name")}, whose value is [Canary]; a file or a
// template is content made from its name; any other ${…} is true and allowed for
// a bool only.
func Bind(t testing.TB, h *Host, m *task.Module, args string) *task.Bound {
	t.Helper()
	n, faults := yamlfile.Parse("args.yml", []byte(args))
	if err := faults.Err(); err != nil {
		t.Fatalf("cannot read the arguments %q: %v", args, err)
	}
	b, err := bindNode(h, m, n, false)
	if err != nil {
		t.Fatalf("cannot bind %s to %q: %v", m.Name, args, err)
	}
	return b
}

// Fault returns what is wrong with arguments, or "".
func Fault(m *task.Module, args string) string {
	n, faults := yamlfile.Parse("args.yml", []byte(args))
	if err := faults.Err(); err != nil {
		return err.Error()
	}
	if _, err := bindNode(NewHost(), m, n, false); err != nil {
		return err.Error()
	}
	return ""
}

// Diff observes the host and returns what differs from the arguments.
func Diff(t testing.TB, h *Host, m *task.Module, args string) []task.Change {
	t.Helper()
	_, changes, err := Bind(t, h, m, args).Observe(context.Background(), h)
	if err != nil {
		t.Fatalf("cannot observe %s: %v", args, err)
	}
	return changes
}

// Apply brings the host into the state that the arguments ask for, as the engine
// does, and returns the changes. It is an error when a difference is left.
func Apply(t testing.TB, h *Host, m *task.Module, args string) ([]task.Change, error) {
	t.Helper()
	r := runner{h: h, b: Bind(t, h, m, args)}
	err := r.apply(context.Background())
	return r.changes, err
}

// Run runs an action and returns its result and whether it changed something.
func Run(t testing.TB, h *Host, m *task.Module, args string) (result any, changed bool, err error) {
	t.Helper()
	return Bind(t, h, m, args).Run(context.Background(), h)
}

// bindNode fills in what stands for values and binds. It changes n.
func bindNode(h *Host, m *task.Module, n *source.Node, secretContent bool) (*task.Bound, error) {
	if n == nil {
		n = source.NewScalar(source.Pos{}, source.Null, "")
	}
	f := &filler{h: h, secretContent: secretContent, secrets: map[int]task.SecretText{}}
	if _, faults := m.Check(n, n.Pos, "", f.hole); len(faults) > 0 {
		return nil, faults
	}
	for old, filled := range f.filled {
		*old = *filled
	}
	return m.Bind(n, func(id int) (task.SecretText, bool) {
		s, ok := f.secrets[id]
		return s, ok
	})
}

// filler does what the loader does with expressions and content.
type filler struct {
	h             *Host
	secretContent bool // all content holds the canary
	secrets       map[int]task.SecretText
	filled        map[*source.Node]*source.Node
}

func (f *filler) hole(n *source.Node, p string, want reflect.Type, field *task.Field) (bool, source.Faults) {
	expr := strings.HasPrefix(n.Text, "${")
	switch {
	case want == reflect.TypeFor[task.SecretText]():
		if !strings.HasPrefix(n.Text, "${secret(") {
			return true, source.Faults{{Pos: n.Pos, Path: p, Message: `want ${secret("name")}`}}
		}
		id := len(f.secrets)
		f.secrets[id] = secret.New(Canary)
		f.fill(n, map[string]any{task.SecretKey: id})
	case want == reflect.TypeFor[task.Blob]():
		f.content(n, field)
	case expr && want.Kind() == reflect.Bool:
		f.set(n, source.NewScalar(n.Pos, source.Bool, "true"))
	case expr:
		return true, source.Faults{{Pos: n.Pos, Path: p, Message: "want a literal: an example may use ${…} for secrets and conditions only"}}
	default:
		return false, nil
	}
	return true, nil
}

func (f *filler) content(n *source.Node, field *task.Field) {
	text, hidden := n.Text, n.Text+Canary+"\n"
	if name := path.Base(n.Text); field.Blob != "text" {
		text, hidden = "# "+name+"\n", "# "+name+"\n"+Canary+"\n"
		if strings.Contains(name, ".json") {
			text, hidden = `{"name": "`+name+`"}`, `{"name": "`+Canary+`"}`
		}
	}
	switch {
	case f.secretContent:
		b := f.h.AddBlob(hidden)
		f.fill(n, map[string]any{task.BlobKey: b.Digest, "size": b.Size, "secret": true})
	case field.Blob == "text":
		f.fill(n, map[string]any{task.TextKey: text})
	default:
		b := f.h.AddBlob(text)
		f.fill(n, map[string]any{task.BlobKey: b.Digest, "size": b.Size})
	}
}

func (f *filler) fill(n *source.Node, value map[string]any) {
	filled, err := source.FromValue(n.Pos, value)
	if err != nil {
		panic(fmt.Sprintf("internal error: %v", err))
	}
	f.set(n, filled)
}

func (f *filler) set(n, filled *source.Node) {
	if f.filled == nil {
		f.filled = map[*source.Node]*source.Node{}
	}
	f.filled[n] = filled
}
