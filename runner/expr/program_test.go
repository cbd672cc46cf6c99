package expr_test

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/runner/expr"
	"holdfast/tasks/secret"
)

func mustCompile(t testing.TB, env *expr.Env, text string) *expr.Program {
	t.Helper()
	p, faults := env.Compile(text, nil)
	if len(faults) > 0 {
		t.Fatalf("Compile(%q): %q", text, faultLines(faults))
	}
	return p
}

func TestUnknown(t *testing.T) {
	env := newEnv(t)
	v := vars()
	v.Values["admin"] = expr.Unknown{Reason: "make the account"}
	v.Values["item"] = expr.Unknown{Reason: "list the keys"}
	v.Values["params"].(map[string]any)["user"] = expr.Unknown{Reason: "ask"}
	v.Values["params"].(map[string]any)["keys"] = []any{"a", expr.Unknown{Reason: "mint a key"}}
	for _, tt := range []struct {
		text string
		want any
	}{
		{"admin.uid", expr.Unknown{Reason: "make the account"}},
		{"admin.uid > 5", expr.Unknown{Reason: "make the account"}},
		{"false && admin.changed", false},
		{"admin.changed && false", false},
		{"true || admin.changed", true},
		{"admin.changed || item == 'a'", expr.Unknown{Reason: "list the keys\nmake the account"}},
		{"string(admin.uid) + item + params.user", expr.Unknown{Reason: "ask\nlist the keys\nmake the account"}},
		{"admin.changed ? 1 : 2", expr.Unknown{Reason: "make the account"}},
		{"true ? 1 : admin.uid", int64(1)},
		{"item == 'a' && item == 'b'", expr.Unknown{Reason: "list the keys"}},
		{"has(admin.uid)", expr.Unknown{Reason: "make the account"}},
		{"admin.?uid.orValue(1)", expr.Unknown{Reason: "make the account"}},
		{"item.a.b[0]", expr.Unknown{Reason: "list the keys"}},
		{"params.port", int64(222)},
		{"params.user", expr.Unknown{Reason: "ask"}},
		{"params.keys[0]", "a"},
		{"params.keys", expr.Unknown{Reason: "mint a key"}},
		{"params.keys.size()", int64(2)},
		{"params.keys.map(k, k + 'x')", expr.Unknown{Reason: "mint a key"}},
		{"params.keys.exists(k, k == 'a')", true},
		{"params.keys.exists(k, k == 'b')", expr.Unknown{Reason: "mint a key"}},
		{"[1, 2].map(n, admin.uid + n)", expr.Unknown{Reason: "make the account"}},
		{"{'a': admin.uid}", expr.Unknown{Reason: "make the account"}},
		{"reveal(secret('later'))", expr.Unknown{Reason: "mint"}},
	} {
		got, err := mustCompile(t, env, tt.text).Eval(context.Background(), v)
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q = %#v, %v; want %#v", tt.text, got, err, tt.want)
		}
	}
	text, _ := env.CompileText("a ${admin.uid} ${item} ${params.port}", nil)
	got, err := text.Eval(context.Background(), v)
	if u, ok := got.(expr.Unknown); !ok || u.String() != `"list the keys" and "make the account"` {
		t.Errorf("a text with unknown parts = %#v, %v", got, err)
	}
}

func TestLimits(t *testing.T) {
	env := newEnv(t)
	long := "lists.range(9000).map(x, lists.range(9000).map(y, x * y)).size()"
	start := time.Now()
	_, err := mustCompile(t, env, long).Eval(context.Background(), vars())
	if err == nil || err.Error() != "the expression takes too many steps" {
		t.Errorf("an expensive expression: got %v", err)
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("an expensive expression took %s", d)
	}
	for _, text := range []string{"lists.range(100000000).size()",
		"cel.bind(a, 'xxxxxxxxxx', " + strings.Repeat("cel.bind(a, a+a+a+a+a+a+a+a+a+a, ", 10) + "a.size()" + strings.Repeat(")", 11)} {
		if _, err := mustCompile(t, env, text).Eval(context.Background(), vars()); err == nil {
			t.Errorf("%.40q: got no failure", text)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_, err = mustCompile(t, env, long).Eval(ctx, vars())
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a deadline: got %v", err)
	}
	ended, stop := context.WithCancel(context.Background())
	stop()
	if _, err = mustCompile(t, env, "1").Eval(ended, vars()); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: got %v", err)
	}
}

func TestUsage(t *testing.T) {
	env := newEnv(t)
	p := mustCompile(t, env, `params.port > 1 && has(params.note) && params.?user.hasValue() && facts.disks.all(d, d.name in host.groups)
		&& host.labels.env == host.labels["a-b"] && ["x"].exists(item, item == "x") && reveal(secret("db")) == reveal(secret("a" + "b"))`)
	if got, want := p.References(), []string{"facts", "host", "params"}; !slices.Equal(got, want) {
		t.Errorf("references: got %q, want %q", got, want)
	}
	for name, want := range map[string][]string{
		"params": {"note", "port", "user"}, "facts": {"disks"}, "host": {"groups", "labels"}, "item": nil} {
		if got := p.FieldsOf(name); !slices.Equal(got, want) || p.Uses(name) != (want != nil) {
			t.Errorf("fields of %s: got %q (used: %v), want %q", name, got, p.Uses(name), want)
		}
	}
	if got := p.Secrets(); !slices.Equal(got, []string{"db"}) || !p.Reveals() {
		t.Errorf("secrets: got %q, reveals %v", got, p.Reveals())
	}
	if got, want := mustCompile(t, env, "[host]").FieldsOf("host"), []string{"address", "groups", "labels", "name"}; !slices.Equal(got, want) {
		t.Errorf("fields of a whole object: got %q, want %q", got, want)
	}
	text, _ := env.CompileText("${params.port} ${item} ${host.name}", nil)
	if got, want := text.References(), []string{"host", "item", "params"}; !slices.Equal(got, want) || text.Reveals() {
		t.Errorf("references of a text: got %q, want %q", got, want)
	}
}

const secretWords = "hunter2hunter2 s3cret-t0ken t0ps3cret"

func containsSecret(s string) bool {
	for word := range strings.FieldsSeq(secretWords) {
		if strings.Contains(s, word) {
			return true
		}
	}
	return false
}

func TestSecretsDoNotShow(t *testing.T) {
	env := newEnv(t)
	for _, text := range []string{
		"dyn(secret('db'))", "string(dyn(secret('db')))", "'%s'.format([dyn(secret('db'))])", "{'a': dyn(params.token)}", "dyn(params).token",
		"{'a': 1}[reveal(secret('db'))]", "duration(reveal(secret('db')))", "int(reveal(params.token))", "ip(reveal(params.token))",
		"[1][int(reveal(secret('db')))]", "'a'.matches(reveal(secret('db')) + '[')", "timestamp(reveal(facts.token))", "dyn(facts)",
		"cel.bind(s, reveal(secret('db')), host.labels[s])", "params.free[reveal(secret('db'))]", "[dyn(secret('db'))]", "secret(reveal(secret('db')))",
	} {
		p, faults := env.Compile(text, nil)
		if len(faults) > 0 {
			if containsSecret(strings.Join(faultLines(faults), "")) {
				t.Errorf("%q: a fault shows a secret: %q", text, faultLines(faults))
			}
			continue
		}
		v, err := p.Eval(context.Background(), vars())
		if err == nil {
			t.Errorf("%q = %v, want a failure", text, v)
			continue
		}
		f := err.(*expr.Failure)
		if text != "secret(reveal(secret('db')))" && containsSecret(f.Message+f.Hint) {
			t.Errorf("%q: the failure shows a secret: %s %s", text, f.Message, f.Hint)
		}
	}
	v, err := mustCompile(t, env, "params").Eval(context.Background(), vars())
	m, _ := v.(map[string]any)
	if s, ok := m["token"].(secret.Text); err != nil || !ok || s.Reveal() != "s3cret-t0ken" {
		t.Errorf("a secret in an object = %v, %v", v, err)
	}
	cause := errors.New("locked")
	with := expr.Vars{Values: vars().Values, Secret: func(string) (any, error) { return nil, cause }}
	if _, err := mustCompile(t, env, "secret('db')").Eval(context.Background(), with); !errors.Is(err, cause) {
		t.Errorf("an unreadable secret: got %v", err)
	}
	with.Secret = nil
	if _, err := mustCompile(t, env, "secret('db')").Eval(context.Background(), with); err == nil {
		t.Error("without secrets: got no failure")
	}
}

func TestNewEnvRefusesNames(t *testing.T) {
	for _, name := range []string{"", "a-b", "1a", "for", "int", "secret", "reveal", "size", "true", "é"} {
		if _, err := expr.NewEnv(expr.Scope{name: intType}); err == nil {
			t.Errorf("NewEnv takes the name %q", name)
		}
	}
	a, _ := expr.NewEnv(scope(t))
	b, _ := expr.NewEnv(scope(t))
	if a != b {
		t.Error("equal scopes have different environments")
	}
	c, err := a.With(expr.Scope{"nginx": intType})
	if err != nil || c == a {
		t.Fatalf("With: %v", err)
	}
	if _, faults := c.Compile("nginx + params.port", nil); len(faults) > 0 {
		t.Errorf("With: %q", faultLines(faults))
	}
}

func TestMissingValue(t *testing.T) {
	_, err := mustCompile(t, newEnv(t), "params.port").Eval(context.Background(), expr.Vars{})
	if err == nil || err.Error() != `"params" has no value here` {
		t.Errorf("got %v", err)
	}
	bad := expr.Vars{Values: map[string]any{"params": map[string]any{"port": "x"}}}
	_, err = mustCompile(t, newEnv(t), "params.port").Eval(context.Background(), bad)
	if err == nil || err.Error() != "port: want int, got string" {
		t.Errorf("got %v", err)
	}
}

func TestConcurrentUse(t *testing.T) {
	env := newEnv(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for _, text := range []string{"params.port + 1", "dyn(params.port) + 'a'", "host.nme", "host.labels.role", "secret('db')", "1 / (params.port - 222)"} {
				if p, _ := env.Compile(text, nil); p != nil {
					_, _ = p.Eval(context.Background(), vars())
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkNewEnv(b *testing.B) {
	s := scope(b)
	for i := 0; b.Loop(); i++ {
		s["x"] = &expr.Type{Kind: expr.Struct, Object: &expr.Object{Name: strings.Repeat("x", i%200), Fields: map[string]*expr.Type{"i": intType}}}
		s["y"+strings.Repeat("z", i%300)] = intType
		if _, err := expr.NewEnv(s); err != nil {
			b.Fatal(err)
		}
		delete(s, "y"+strings.Repeat("z", i%300))
	}
}

func BenchmarkNewEnvAgain(b *testing.B) {
	s := scope(b)
	for b.Loop() {
		if _, err := expr.NewEnv(s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	env := newEnv(b)
	for i := 0; b.Loop(); i++ {
		if _, faults := env.Compile("host.labels.env == 'prod' && params.port > "+time.Duration(i).String()[:1]+strings.Repeat(" ", i%4000), nil); faults != nil {
			b.Fatal(faults[0])
		}
	}
}

func BenchmarkCompileAgain(b *testing.B) {
	env := newEnv(b)
	for b.Loop() {
		env.Compile("host.labels.env == 'prod' && params.port > 1", nil)
	}
}

func BenchmarkEval(b *testing.B) {
	env := newEnv(b)
	v := vars()
	p := mustCompile(b, env, "host.labels.env == 'prod' && params.port > 1")
	for b.Loop() {
		if _, err := p.Eval(context.Background(), v); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEvalFleet(b *testing.B) {
	host := map[string]any{"name": "web", "address": "", "labels": map[string]any{"env": "prod"}, "groups": []any{}}
	fleet := make([]any, 1000)
	for i := range fleet {
		fleet[i] = host
	}
	env, err := expr.NewEnv(expr.Scope{"fleet": {Kind: expr.List, Elem: scope(b)["host"]}})
	if err != nil {
		b.Fatal(err)
	}
	p := mustCompile(b, env, "fleet.filter(h, h.labels.env == 'prod').map(h, h.name)")
	v := expr.Vars{Values: map[string]any{"fleet": fleet}}
	for b.Loop() {
		if _, err := p.Eval(context.Background(), v); err != nil {
			b.Fatal(err)
		}
	}
}
