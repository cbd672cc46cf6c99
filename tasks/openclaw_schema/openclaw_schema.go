// Package openclawschema looks whether OpenClaw would take settings, before any host has them.
package openclawschema

import (
	"bytes"
	"compress/gzip"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"strings"

	"holdfast/tasks/task"
)

//go:embed doc.md
var doc string

// Params is what a playbook asks for.
type Params struct {
	Schema   *task.Blob `yaml:"schema" blob:"file" doc:"The JSON schema beside the playbook, gzipped or not; without one only what no playbook may set is refused."`
	Template *task.Blob `yaml:"template" blob:"template" validate:"required" doc:"A template beside the playbook that makes the settings."`
	Merge    *string    `yaml:"merge" doc:"JSON that is put over what the template makes, as the module json does."`
}

// Result counts what was looked at.
type Result struct {
	Sections int64 `yaml:"sections" json:"sections" doc:"How many sections the settings have."`
}

// Module looks at settings.
var Module = task.NewAction(task.ActionDef[Params, Result]{
	Name: "openclaw_schema", Doc: doc, ReadOnly: true, Controller: true,
	Validate: validate,
	Resource: func(Params) string { return "settings of OpenClaw" },
	Run:      run,
})

func validate(p Params) error {
	if p.Merge != nil {
		if _, err := object([]byte(*p.Merge)); err != nil {
			return task.FieldErrorf("merge", "%s", err)
		}
	}
	return nil
}

func object(data []byte) (*task.JSON, error) {
	v, err := task.ParseJSON(data)
	if err == nil && !v.IsObject() {
		err = errors.New("want an object, {…}")
	}
	return v, err
}

const (
	maxSchema = 32 << 20
	maxShown  = 10
)

func run(ctx context.Context, w task.Writer, p Params) (Result, error) {
	settings, err := p.settings(ctx, w)
	if err != nil {
		return Result{}, err
	}
	var rules *schema
	if p.Schema != nil {
		if rules, err = p.schema(ctx, w); err != nil {
			return Result{}, err
		}
	}
	problems, err := judge(rules, settings)
	if err != nil {
		return Result{}, err
	}
	if len(problems) > 0 {
		return Result{}, refused(problems, p.Template.Secret)
	}
	return Result{Sections: int64(len(task.ObjectJSON().Differences(settings)))}, nil
}

// judge says what is wrong with the settings, first of all what no playbook may set.
func judge(rules *schema, settings *task.JSON) ([]problem, error) {
	if out := owned(settings); len(out) > 0 || rules == nil {
		return out, nil
	}
	return rules.judge(settings)
}

// settings is what would be merged into a host's file.
func (p *Params) settings(ctx context.Context, r task.Reader) (*task.JSON, error) {
	data, err := r.Blob(ctx, *p.Template)
	if err != nil {
		return nil, fmt.Errorf("cannot get the settings of OpenClaw: %w", err)
	}
	settings, err := object(data)
	if err != nil {
		return nil, fmt.Errorf("cannot read what the template makes: %w", err)
	}
	if p.Merge != nil {
		over, _ := object([]byte(*p.Merge)) // it was validated
		settings = settings.Merge(over)
	}
	return settings, nil
}

func (p *Params) schema(ctx context.Context, r task.Reader) (*schema, error) {
	data, err := r.Blob(ctx, *p.Schema)
	if err != nil {
		return nil, fmt.Errorf("cannot get the schema for the settings of OpenClaw: %w", err)
	}
	if data, err = unpacked(data); err != nil {
		return nil, fmt.Errorf("cannot unpack the schema: %w", err)
	}
	return newSchema(data)
}

func unpacked(data []byte) ([]byte, error) {
	if !bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		return data, nil
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	data, err = io.ReadAll(io.LimitReader(z, maxSchema+1))
	if err == nil && len(data) > maxSchema {
		err = fmt.Errorf("it has more than %d MB", maxSchema>>20)
	}
	return data, err
}

// problem is one setting that is refused.
type problem struct {
	path []string
	what string
	hint string
	bare string // what is wrong, without any value
}

// unwanted are settings that no playbook may make: those that OpenClaw alone writes, and
// those that let somebody past pairing or origins.
var unwanted = []struct {
	path string
	on   bool // only switched on
	why  string
}{
	{"meta", false, "OpenClaw writes it, and an older version refuses a file that a newer one wrote: no way back"},
	{"wizard", false, "OpenClaw's own questions write it, and a gateway starts without"},
	{"gateway.controlUi.dangerouslyDisableDeviceAuth", true, "it does nothing today, and was no pairing for browsers; approve the browser's device"},
	{"gateway.controlUi.dangerouslyAllowHostHeaderOriginFallback", true, "any page that names the host is let in then; name origins in allowedOrigins"},
	{"plugins.entries.admin-http-rpc.enabled", true, "the token alone makes an administrator of whoever has it, with no device"},
}

func owned(settings *task.JSON) []problem {
	var out []problem
	for _, u := range unwanted {
		path := strings.Split(u.path, ".")
		v := settings.Get(path)
		if v == nil || u.on && v.Text("") != "true" {
			continue
		}
		out = append(out, problem{path: path, what: "is not for a playbook", bare: "is not for a playbook", hint: "leave it out; " + u.why})
	}
	return out
}

// refusal is an error with a hint.
type refusal struct{ text, hint string }

func (r *refusal) Error() string { return r.text }

// Hint says how to mend it.
func (r *refusal) Hint() string { return r.hint }

func refused(problems []problem, hide bool) error {
	lines := make([]string, 0, maxShown+1)
	hint := "openclaw config schema prints what there is"
	for i, p := range problems {
		if i == maxShown {
			lines = append(lines, fmt.Sprintf("and %d more", len(problems)-maxShown))
			break
		}
		what := p.what
		if hide {
			what = p.bare
		}
		line := strings.Join(p.path, ".") + ": " + what
		switch {
		case p.hint == "" || hide:
		case len(problems) == 1:
			hint = p.hint
		default:
			line += " (" + p.hint + ")"
		}
		lines = append(lines, line)
	}
	return &refusal{"OpenClaw would refuse these settings: " + strings.Join(lines, "; "), hint}
}
