// Package dns asks the domain name system and judges the answer.
package dns

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"holdfast/tasks/task"
)

//go:embed doc.md
var doc string

// Params is what a playbook asks for.
type Params struct {
	Name     string   `yaml:"name" validate:"required" doc:"The name, complete: www.example.org."`
	Type     string   `yaml:"type" default:"A" validate:"oneof=A AAAA CAA CNAME MX NS PTR SOA SRV TXT" doc:"The type of records."`
	Server   *string  `yaml:"server" doc:"Address of the server to ask, with a port or without; else those of the system."`
	TCP      bool     `yaml:"tcp" default:"false" doc:"Whether TCP is used from the start."`
	Equals   []string `yaml:"equals" validate:"min=1" doc:"The values that there must be, and no others."`
	Contains []string `yaml:"contains" validate:"min=1,excludes=equals" doc:"Values that must be among those that there are."`
	Within   []string `yaml:"within" validate:"min=1,excludes=equals" doc:"The only values that there may be."`
	Optional bool     `yaml:"optional" default:"false" doc:"Whether there may be none; what is asked for then counts for those that there are."`
	Absent   bool     `yaml:"absent" default:"false" doc:"Whether there must be none."`
}

// Result is the answer.
type Result struct {
	Code   string   `yaml:"code" json:"code" doc:"What the server says: NOERROR, NXDOMAIN, SERVFAIL, REFUSED."`
	Values []string `yaml:"values" json:"values" doc:"The values, sorted, as zone files have them."`
	Server string   `yaml:"server" json:"server" doc:"Which server answered."`
}

// Module asks for records.
var Module = task.NewAction(task.ActionDef[Params, Result]{
	Name: "dns", Doc: doc, ReadOnly: true,
	Validate: validate,
	Resource: func(p Params) string { return p.Name },
	Run:      run,
})

func validate(p Params) error {
	name := strings.TrimSuffix(p.Name, ".")
	if name == "" || len(name) > 253 || strings.Contains(name, "..") || strings.ContainsAny(name, " \t/:") {
		return task.FieldErrorf("name", "%q is no name to ask for", p.Name)
	}
	if p.Absent && (p.Optional || len(p.Equals)+len(p.Contains)+len(p.Within) > 0) {
		return task.FieldErrorf("absent", "no values can be expected where there must be none")
	}
	return nil
}

func run(ctx context.Context, w task.Writer, p Params) (Result, error) {
	q := task.Question{Name: p.Name, Type: p.Type, TCP: p.TCP}
	if p.Server != nil {
		q.Server = *p.Server
	}
	got, err := w.Resolve(ctx, q)
	if err != nil {
		return Result{}, err
	}
	r := Result{Code: got.Code, Values: got.Values, Server: got.Server}
	return r, judge(p, r)
}

func judge(p Params, r Result) error {
	said := cmp.Or(strings.Join(r.Values, ", "), "nothing")
	fail := func(want string) error {
		return fmt.Errorf("%s %s: %s says %s (%s), want %s", p.Name, p.Type, r.Server, said, r.Code, want)
	}
	known := r.Code == "NOERROR" || r.Code == "NXDOMAIN"
	switch {
	case !known:
		return fail("an answer")
	case p.Absent && len(r.Values) > 0:
		return fail("no records")
	case p.Absent, p.Optional && len(r.Values) == 0:
		return nil
	case len(p.Equals) > 0 && !slices.Equal(plain(p.Equals), plain(r.Values)):
		return fail(strings.Join(p.Equals, ", ") + " and nothing else")
	}
	have := plain(r.Values)
	for _, v := range have {
		if within := plain(p.Within); len(within) > 0 && !slices.Contains(within, v) {
			return fail("nothing but " + strings.Join(p.Within, ", "))
		}
	}
	for _, v := range plain(p.Contains) {
		if !slices.Contains(have, v) {
			return fail(v)
		}
	}
	if len(r.Values) == 0 {
		return fail("some")
	}
	return nil
}

// plain makes values comparable: names in any case, with or without a dot at the end.
func plain(values []string) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = strings.ToLower(strings.TrimSuffix(v, "."))
	}
	slices.Sort(out)
	return slices.Compact(out)
}
