// Package http makes a request from the host and judges the answer.
package http

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"holdfast/tasks/task"
)

//go:embed doc.md
var doc string

// Params is what a playbook asks for.
type Params struct {
	URL       string            `yaml:"url" validate:"required" doc:"The address, http:// or https://."`
	Method    string            `yaml:"method" default:"GET" validate:"oneof=GET HEAD POST PUT PATCH DELETE" doc:"What to do there."`
	Headers   map[string]string `yaml:"headers" doc:"Headers of the request."`
	Secrets   []task.Header     `yaml:"secret_headers" doc:"Headers whose values must not be seen."`
	Body      *string           `yaml:"body" doc:"What to send."`
	Secret    task.SecretText   `yaml:"secret_body" validate:"excludes=body" doc:"What to send, when it must not be seen."`
	Status    []int64           `yaml:"status" doc:"The statuses that are fine; without it, 200 to 299."`
	Contains  *string           `yaml:"contains" doc:"What the answer's body must contain."`
	JSON      map[string]string `yaml:"json" doc:"What the answer, which is JSON then, must have at paths: status.db: up."`
	Redirects int64             `yaml:"redirects" default:"0" validate:"min=0,max=10" doc:"How many redirects to follow."`
	Socket    *task.Path        `yaml:"socket" doc:"A Unix socket to talk over; the host in the URL is then a name only."`
	Address   *string           `yaml:"address" validate:"excludes=socket" doc:"Where to connect, host:port, instead of where the URL leads; its host still names the site and the certificate."`
	Proxy     string            `yaml:"proxy" default:"none" doc:"http://host:port of a proxy, none, or env for what the environment of the host says."`
	Insecure  bool              `yaml:"insecure" default:"false" doc:"Whether any certificate of the server is accepted."`
	Optional  bool              `yaml:"optional" default:"false" doc:"Whether no answer within 20 seconds is fine, too; its status is 0, and error says why."`
}

// Result is the answer.
type Result struct {
	Status  int64             `yaml:"status" json:"status" doc:"The status."`
	Body    string            `yaml:"body" json:"body" doc:"The first 4 KiB of the body, empty when it is not text."`
	Headers map[string]string `yaml:"headers" json:"headers" doc:"The answer's headers, names in lower case, values joined by commas."`
	Error   string            `yaml:"error" json:"error" doc:"Why there is no answer, where there may be none."`
}

const (
	maxBody  = 1 << 20 // of which contains is looked for
	keep     = 4 << 10
	patience = 20 * time.Second // with a server that may be silent
)

// Module makes requests.
var Module = task.NewAction(task.ActionDef[Params, Result]{
	Name: "http", Doc: doc,
	Validate:     validate,
	Resource:     func(p Params) string { return p.URL },
	Run:          run,
	Changed:      func(p Params, _ Result) bool { return !p.reads() },
	Reads:        func(p Params) bool { return p.reads() },
	TLS:          true,
	Irreversible: "what a server made of a request cannot be taken back from here",
})

// reads reports whether the method changes nothing (RFC 9110, section 9.2.1).
func (p *Params) reads() bool { return p.Method == "GET" || p.Method == "HEAD" }

func validate(p Params) error {
	switch {
	case !strings.HasPrefix(p.URL, "http://") && !strings.HasPrefix(p.URL, "https://"):
		return task.FieldErrorf("url", "%q is no URL: want http:// or https://", p.URL)
	case p.Body != nil && p.reads():
		return task.FieldErrorf("body", "a %s request sends none", p.Method)
	case !p.Secret.IsZero() && p.reads():
		return task.FieldErrorf("secret_body", "a %s request sends none", p.Method)
	case p.Optional && !p.reads():
		return task.FieldErrorf("optional", "nobody would know what a %s request without an answer did", p.Method)
	case p.Contains != nil && p.Method == "HEAD":
		return task.FieldErrorf("contains", "the answer to HEAD has no body")
	case len(p.JSON) > 0 && p.Method == "HEAD":
		return task.FieldErrorf("json", "the answer to HEAD has no body")
	}
	for _, at := range slices.Sorted(maps.Keys(p.JSON)) {
		if _, err := task.JSONPath(at); err != nil {
			return task.FieldErrorf("json", "%s", err)
		}
	}
	if err := checkAddress(p); err != nil {
		return err
	}
	if err := task.CheckProxy("proxy", p.Proxy); err != nil {
		return err
	}
	for _, s := range p.Status {
		if s < 100 || s > 599 {
			return task.FieldErrorf("status", "%d is no status: want 100 to 599", s)
		}
	}
	return task.CheckHeaders(p.Headers, p.Secrets)
}

// checkAddress wants an address that one request goes to: another server may be meant by
// a redirect, and a proxy connects by itself.
func checkAddress(p Params) error {
	if p.Address == nil {
		return nil
	}
	if err := task.CheckHostPort("address", *p.Address); err != nil {
		return err
	}
	switch {
	case p.Redirects > 0:
		return task.FieldErrorf("address", "a redirect could lead elsewhere, and would be followed to this address")
	case p.Proxy != "none":
		return task.FieldErrorf("address", "a proxy connects by itself, to where the URL leads")
	}
	return nil
}

func run(ctx context.Context, w task.Writer, p Params) (Result, error) {
	req := task.Request{
		Method: p.Method, URL: p.URL, Header: p.Headers, Secrets: task.SecretHeaders(p.Secrets),
		Redirects: p.Redirects, Insecure: p.Insecure, Proxy: task.ProxyOf(p.Proxy), MaxBody: maxBody,
	}
	if p.Body != nil {
		req.Body = []byte(*p.Body)
	}
	if !p.Secret.IsZero() {
		req.Body = []byte(p.Secret.Reveal())
	}
	if p.Socket != nil {
		req.Socket = string(*p.Socket)
	}
	if p.Address != nil {
		req.Address = *p.Address
	}
	resp, err := fetch(ctx, w, p, req)
	switch {
	case err != nil && p.Optional && ctx.Err() == nil:
		return Result{Headers: map[string]string{}, Error: err.Error()}, nil
	case err != nil:
		return Result{}, err
	}
	r := Result{Status: int64(resp.Status), Body: text(resp.Body), Headers: map[string]string{}}
	for name, values := range resp.Header {
		r.Headers[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	return r, judge(p, r.Status, resp.Body)
}

// fetch has less patience where there may be no answer: a firewall that drops gives none.
func fetch(ctx context.Context, w task.Writer, p Params, req task.Request) (task.Response, error) {
	if p.Optional {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, patience)
		defer stop()
	}
	return w.Fetch(ctx, req)
}

// text returns the beginning of a body, cut between characters.
func text(body []byte) string {
	body = body[:min(len(body), keep)]
	for range utf8.UTFMax {
		if utf8.Valid(body) {
			break
		}
		body = body[:max(0, len(body)-1)]
	}
	if !task.Printable(body) {
		return ""
	}
	return string(body)
}

func judge(p Params, status int64, body []byte) error {
	fine := status >= 200 && status <= 299
	want := "200 to 299"
	if len(p.Status) > 0 {
		fine = slices.Contains(p.Status, status)
		want = strings.Trim(fmt.Sprint(p.Status), "[]")
	}
	if !fine {
		return fmt.Errorf("%s %s: status %d, want %s: %s", p.Method, p.URL, status, want, cmp.Or(short(body), "no body"))
	}
	if p.Contains != nil && !strings.Contains(string(body), *p.Contains) {
		return fmt.Errorf("%s %s: the body lacks %q: %s", p.Method, p.URL, *p.Contains, cmp.Or(short(body), "no body"))
	}
	if len(p.JSON) == 0 {
		return nil
	}
	doc, err := task.ParseJSON(body)
	if err != nil {
		return fmt.Errorf("%s %s: the body is %w: %s", p.Method, p.URL, err, cmp.Or(short(body), "no body"))
	}
	for _, at := range slices.Sorted(maps.Keys(p.JSON)) {
		path, _ := task.JSONPath(at) // it was validated
		got := doc.Get(path)
		if got == nil {
			return fmt.Errorf("%s %s: the answer has nothing at %s, want %s", p.Method, p.URL, at, p.JSON[at])
		}
		if !same(got, p.JSON[at]) {
			return fmt.Errorf("%s %s: the answer has %s at %s, want %s", p.Method, p.URL, short([]byte(got.Text(""))), at, p.JSON[at])
		}
	}
	return nil
}

// same compares a value with what a playbook says of it: a text, or JSON.
func same(got *task.JSON, want string) bool {
	if got.Equal(task.StringJSON(want)) {
		return true
	}
	other, err := task.ParseJSON([]byte(want))
	return err == nil && got.Equal(other)
}

// short returns what of a body fits into a failure.
func short(body []byte) string {
	const most = 200
	s := strings.Join(strings.Fields(text(body)), " ")
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + " …"
}
