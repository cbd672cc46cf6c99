package expr_test

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"holdfast/runner/expr"
	"holdfast/tasks/secret"
)

type Disk struct {
	Name  string `yaml:"name"`
	Size  uint64 `yaml:"size"`
	Inner *Disk  `yaml:"inner,omitempty"`
}

type Embedded struct {
	Shared string `yaml:"shared"`
	Name   string `yaml:"name"`
}

type Facts struct {
	Embedded `yaml:",inline"`
	Name     string                 `yaml:"name"`
	OS       struct{ ID, V string } `json:"os"`
	CPUs     int32                  `yaml:"cpus"`
	Load     float32                `json:"load"`
	Disks    []Disk                 `yaml:"disks"`
	Env      map[string]string      `yaml:"env"`
	Uptime   time.Duration          `yaml:"uptime"`
	Booted   time.Time              `yaml:"booted"`
	Raw      []byte                 `yaml:"raw"`
	Extra    any                    `yaml:"extra"`
	Home     *string                `yaml:"home"`
	Token    secret.Text            `yaml:"token"`
	Hidden   string                 `yaml:"-"`
	Plain    bool
}

func mustType(t testing.TB, v any) *expr.Type {
	t.Helper()
	typ, err := expr.FromGo(reflect.TypeOf(v))
	if err != nil {
		t.Fatalf("FromGo(%T): %v", v, err)
	}
	return typ
}

func scope(t testing.TB) expr.Scope {
	t.Helper()
	str := &expr.Type{Kind: expr.String}
	return expr.Scope{
		"facts": mustType(t, Facts{}),
		"host": {Kind: expr.Struct, Object: &expr.Object{Name: "host", Fields: map[string]*expr.Type{
			"name": str, "address": str, "labels": {Kind: expr.Map, Elem: str}, "groups": {Kind: expr.List, Elem: str}}}},
		"params": {Kind: expr.Struct, Object: &expr.Object{Name: "params", Fields: map[string]*expr.Type{
			"port": {Kind: expr.Int}, "user": str, "ratio": {Kind: expr.Double}, "on": {Kind: expr.Bool},
			"keys": {Kind: expr.List, Elem: str}, "wait": {Kind: expr.Duration}, "note": {Kind: expr.String, Optional: true},
			"token": {Kind: expr.Secret}, "free": {Kind: expr.Dyn}, "limits": {Kind: expr.Map, Elem: &expr.Type{Kind: expr.Int}},
			"extra": {Kind: expr.List, Elem: str, Optional: true}}}},
		"admin": {Kind: expr.Struct, Optional: true, Object: &expr.Object{Name: "user", Fields: map[string]*expr.Type{
			"uid": {Kind: expr.Int}, "home": str, "changed": {Kind: expr.Bool}}}},
		"item": {Kind: expr.Dyn},
	}
}

func newEnv(t testing.TB) *expr.Env {
	t.Helper()
	env, err := expr.NewEnv(scope(t))
	if err != nil {
		t.Fatalf("NewEnv: %v", err)
	}
	return env
}

func vars() expr.Vars {
	home := "/root"
	return expr.Vars{
		Values: map[string]any{
			"facts": &Facts{Name: "outer", CPUs: 4, Load: 0.5, Disks: []Disk{{Name: "sda", Size: 10, Inner: &Disk{Name: "sda1"}}, {Name: "sdb", Size: 20}},
				Env: map[string]string{"LANG": "C"}, Uptime: 90 * time.Second, Booted: time.Unix(0, 0).UTC(), Raw: []byte("raw"),
				Extra: map[string]any{"a": []any{1.0, "x"}}, Home: &home, Token: secret.New("t0ps3cret"), Embedded: Embedded{Shared: "yes", Name: "inner"}},
			"host": map[string]any{"name": "web1", "address": "10.0.0.1", "labels": map[string]string{"env": "prod", "a-b": "c"},
				"groups": []string{"web", "eu"}},
			"params": map[string]any{"port": float64(222), "user": "adminclaw", "ratio": 1.5, "on": true, "keys": []any{"k1", "k2"},
				"wait": "90s", "token": secret.New("s3cret-t0ken"), "free": map[string]any{"n": 3, "s": "text"}, "limits": map[string]any{"nofile": 5.0}},
			"item": "one",
		},
		Secret: func(name string) (any, error) {
			switch name {
			case "db":
				return secret.New("hunter2hunter2"), nil
			case "later":
				return expr.Unknown{Reason: "mint"}, nil
			}
			return nil, fmt.Errorf("no file %s.age", name)
		},
	}
}

// faultLines writes faults down as offset: message [hint].
func faultLines(faults []*expr.Fault) []string {
	var out []string
	for _, f := range faults {
		line := fmt.Sprintf("%d: %s", f.Offset, f.Message)
		if f.Hint != "" {
			line += fmt.Sprintf(" [%s]", f.Hint)
		}
		out = append(out, line)
	}
	return out
}
