// Package wait waits until something is there.
package wait

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
	"time"

	"holdfast/tasks/task"
)

//go:embed doc.md
var doc string

// Params is what a playbook asks for.
type Params struct {
	TCP    *string       `yaml:"tcp" doc:"Until a connection to this host:port succeeds, made from the host."`
	Path   *task.Path    `yaml:"path" doc:"Until something is at this path."`
	Absent *task.Path    `yaml:"absent" doc:"Until nothing is at this path."`
	Unit   *string       `yaml:"unit" doc:"Until this unit is active; without a suffix it is a service."`
	User   *string       `yaml:"user" validate:"requires=unit" doc:"The account whose unit it is."`
	HTTP   *string       `yaml:"http" doc:"Until a GET of this URL, made from the host, answers with a 2xx status."`
	Every  task.Duration `yaml:"every" default:"1s" doc:"Time between two looks."`
}

// Result says how long it took.
type Result struct {
	Seconds int64 `yaml:"seconds" json:"seconds" doc:"Whole seconds that passed."`
	Tries   int64 `yaml:"tries" json:"tries" doc:"How often was looked."`
}

// Module waits.
var Module = task.NewAction(task.ActionDef[Params, Result]{
	Name: "wait", Doc: doc,
	Validate: validate,
	Resource: resource,
	Wait:     true,
	Run:      run,
})

func validate(p Params) error {
	given := 0
	for _, set := range []bool{p.TCP != nil, p.Path != nil, p.Absent != nil, p.Unit != nil, p.HTTP != nil} {
		if set {
			given++
		}
	}
	if given != 1 {
		return fmt.Errorf("want one of tcp, path, absent, unit and http, got %d", given)
	}
	if p.TCP != nil {
		host, port, found := cutLast(*p.TCP, ":")
		if !found || host == "" || port == "" {
			return task.FieldErrorf("tcp", "%q is no host:port", *p.TCP)
		}
	}
	if p.HTTP != nil && !strings.HasPrefix(*p.HTTP, "http://") && !strings.HasPrefix(*p.HTTP, "https://") {
		return task.FieldErrorf("http", "%q is no URL: want http:// or https://", *p.HTTP)
	}
	if p.Every.Std() < 10*time.Millisecond {
		return task.FieldErrorf("every", "%s is too often: want 10ms or more", p.Every.Std())
	}
	return nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func resource(p Params) string {
	switch {
	case p.TCP != nil:
		return *p.TCP
	case p.Path != nil:
		return string(*p.Path)
	case p.Absent != nil:
		return string(*p.Absent)
	case p.Unit != nil:
		return p.unit().Name
	default:
		return *p.HTTP
	}
}

func (p *Params) unit() task.UnitRef {
	ref := task.UnitRef{Name: *p.Unit}
	if !strings.Contains(ref.Name, ".") {
		ref.Name += ".service"
	}
	if p.User != nil {
		ref.User = *p.User
	}
	return ref
}

func run(ctx context.Context, w task.Writer, p Params) (Result, error) {
	start, last := time.Now(), "not looked at"
	tick := time.NewTicker(p.Every.Std())
	defer tick.Stop()
	for tries := int64(1); ; tries++ {
		why, err := look(ctx, w, p)
		if err != nil {
			why = err.Error()
		}
		if why == "" {
			return Result{Seconds: int64(time.Since(start).Seconds()), Tries: tries}, nil
		}
		if ctx.Err() == nil {
			if why != last {
				w.Progress(resource(p) + ": " + why)
			}
			last = why
		}
		select {
		case <-ctx.Done():
			took := time.Since(start).Round(time.Second)
			return Result{}, fmt.Errorf("cannot wait longer for %s after %s: %w; the last look said: %s", resource(p), took, ctx.Err(), last)
		case <-tick.C:
		}
	}
}

// look returns why the wait is not over, or "".
func look(ctx context.Context, r task.Reader, p Params) (why string, err error) {
	switch {
	case p.TCP != nil:
		return "", r.Dial(ctx, "tcp", *p.TCP)
	case p.Path != nil:
		info, err := r.Stat(ctx, string(*p.Path))
		if err == nil && !info.Exists() {
			why = "it is not there"
		}
		return why, err
	case p.Absent != nil:
		info, err := r.Stat(ctx, string(*p.Absent))
		if err == nil && info.Exists() {
			why = "it is still there"
		}
		return why, err
	case p.Unit != nil:
		return lookAtUnit(ctx, r, p.unit())
	default:
		return lookAtURL(ctx, r, *p.HTTP)
	}
}

func lookAtUnit(ctx context.Context, r task.Reader, ref task.UnitRef) (why string, err error) {
	u, err := r.Unit(ctx, ref)
	switch {
	case err != nil:
		return "", err
	case !u.Exists:
		return "there is no such unit", nil
	case u.Active != "active":
		return "the unit is " + u.Active, nil
	}
	return "", nil
}

func lookAtURL(ctx context.Context, r task.Reader, url string) (why string, err error) {
	resp, err := r.Fetch(ctx, task.Request{Method: "GET", URL: url})
	if err == nil && (resp.Status < 200 || resp.Status > 299) {
		why = fmt.Sprintf("the answer is status %d", resp.Status)
	}
	return why, err
}
