package expr_test

import (
	"context"
	"reflect"
	"strings"
	"testing"
	"time"

	"holdfast/runner/expr"
)

func TestSelectHost(t *testing.T) {
	host := map[string]any{"name": "web1", "address": "10.0.0.1", "labels": map[string]string{"env": "prod"}, "groups": []string{"web"}}
	for _, tt := range []struct {
		text string
		want bool
	}{
		{"true", true},
		{"host.name.startsWith('web')", true},
		{"host.labels.env == 'prod'", true},
		{"host.labels.env != 'prod'", false},
		{"host.labels.role == 'a'", false},
		{"host.labels.role != 'a'", false},
		{"host.labels.role == 'a' || 'web' in host.groups", true},
		{"!('role' in host.labels)", true},
		{"cidr('10.0.0.0/8').containsIP(host.address)", true},
	} {
		got, f := expr.SelectHost(context.Background(), tt.text, host)
		if f != nil || got != tt.want {
			t.Errorf("SelectHost(%q) = %v, %v; want %v", tt.text, got, f, tt.want)
		}
	}
	for _, text := range []string{"host.nme == 'a'", "host.name", "facts.os.id == 'a'", "", "reveal(secret('a')) == 'b'"} {
		if f := expr.CheckHost(text); f == nil {
			t.Errorf("CheckHost(%q) finds nothing", text)
		}
	}
	if _, f := expr.SelectHost(context.Background(), "1 / (size(host.name) - 4) == 1", host); f == nil || f.Message != "division by zero" {
		t.Errorf("a failing selection: got %v", f)
	}
}

func TestFromGo(t *testing.T) {
	typ := mustType(t, &Facts{})
	if typ.Kind != expr.Struct || !typ.Optional || typ.String() != "facts" {
		t.Fatalf("FromGo(*Facts) = %+v", typ)
	}
	want := map[string]string{"shared": "string", "name": "string", "os": "object", "cpus": "int", "load": "double", "disks": "list(disk)",
		"env": "map(string)", "uptime": "string", "booted": "string", "raw": "string", "extra": "any", "home": "string", "token": "secret", "plain": "bool"}
	got := map[string]string{}
	for name, f := range typ.Object.Fields {
		got[name] = f.String()
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("fields:\n got %v\nwant %v", got, want)
	}
	if !typ.Object.Fields["home"].Optional || typ.Object.Fields["name"].Optional {
		t.Error("want pointers, and nothing else, to be optional")
	}
	disk := typ.Object.Fields["disks"].Elem
	if inner := disk.Object.Fields["inner"]; inner.Object != disk.Object {
		t.Error("a type that refers to itself is not one object")
	}
	for _, v := range []any{make(chan int), map[int]string{}, struct {
		F func() `yaml:"f"`
	}{}, struct {
		A int `yaml:"a-b"`
	}{}, struct {
		E error `yaml:"e"`
	}{}} {
		if typ, err := expr.FromGo(reflect.TypeOf(v)); err == nil || !strings.Contains(err.Error(), "cannot use Go type") {
			t.Errorf("FromGo(%T) = %v, %v; want an error", v, typ, err)
		}
	}
	if d, err := expr.FromGo(reflect.TypeFor[time.Duration]()); err != nil || d.Kind != expr.String {
		t.Errorf("FromGo(time.Duration) = %v, %v", d, err)
	}
}
