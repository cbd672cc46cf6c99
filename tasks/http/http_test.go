package http_test

import (
	"encoding/base64"
	"errors"
	"maps"
	"strings"
	"testing"

	"holdfast/tasks/http"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, http.Module) }

// answering returns a host to which every server says the same.
func answering(status int, body string) *tasktest.Host {
	h := tasktest.NewHost()
	h.OnFetch = func(task.Request) (task.Response, error) {
		return task.Response{Status: status, Header: map[string][]string{"X-Two": {"a", "b"}}, Body: []byte(body)}, nil
	}
	return h
}

func TestRunJudges(t *testing.T) {
	tests := []struct {
		name, args string
		status     int
		want       string
	}{
		{"fine", "{url: http://x/}", 204, ""},
		{"not fine", "{url: http://x/}", 404, "GET http://x/: status 404, want 200 to 299: some body"},
		{"a redirect is not fine", "{url: http://x/}", 301, "status 301"},
		{"fine because asked for", "{url: http://x/, status: [404, 410]}", 410, ""},
		{"not what was asked for", "{url: http://x/, status: [404, 410]}", 200, "status 200, want 404 410"},
		{"contains", "{url: http://x/, contains: me b}", 200, ""},
		{"does not contain", "{url: http://x/, contains: other}", 200, `the body lacks "other": some body`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := tasktest.Run(t, answering(tt.status, "some body"), http.Module, tt.args)
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("http %s on %d: got %v, want no failure", tt.args, tt.status, err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("http %s on %d: got %v, want %q", tt.args, tt.status, err, tt.want)
			}
		})
	}
}

func TestRunJudgesJSON(t *testing.T) {
	const body = `{"status": {"db": "up", "n": 1.0}, "list": [true]}`
	for args, want := range map[string]string{
		`{status.db: up, status.n: "1", /list/0: "true", list: "[true]"}`: "",
		`{status.db: down}`: `the answer has "up" at status.db, want down`,
		`{status.x: up}`:    "the answer has nothing at status.x, want up",
	} {
		_, _, err := tasktest.Run(t, answering(200, body), http.Module, "{url: http://x/, json: "+args+"}")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("json %s: got %v, want %q", args, err, want)
		}
	}
	_, _, err := tasktest.Run(t, answering(200, "<html>"), http.Module, "{url: http://x/, json: {a: b}}")
	if err == nil || !strings.Contains(err.Error(), "the body is not JSON") {
		t.Errorf("got %v, want that it is no JSON", err)
	}
}

func TestResult(t *testing.T) {
	result, changed, err := tasktest.Run(t, answering(200, strings.Repeat("é", 4000)), http.Module, "{url: http://x/}")
	if err != nil || changed {
		t.Fatalf("got %v, changed %v, want neither", err, changed)
	}
	r := result.(http.Result)
	if r.Status != 200 || r.Body != strings.Repeat("é", 2048) || !maps.Equal(r.Headers, map[string]string{"x-two": "a, b"}) {
		t.Errorf("got status %d, %d bytes of body, headers %v", r.Status, len(r.Body), r.Headers)
	}
	result, _, err = tasktest.Run(t, answering(200, "\x00\xff"), http.Module, "{url: http://x/}")
	if err != nil || result.(http.Result).Body != "" {
		t.Errorf("binary body: got %+v (%v), want an empty text", result, err)
	}
}

func TestOptional(t *testing.T) {
	h := tasktest.NewHost()
	h.OnFetch = func(task.Request) (task.Response, error) { return task.Response{}, errors.New("connection refused") }
	result, changed, err := tasktest.Run(t, h, http.Module, "{url: http://x/, optional: true, contains: y}")
	if r, is := result.(http.Result); err != nil || changed || !is || r.Status != 0 || r.Error != "connection refused" {
		t.Errorf("no answer: got %+v, changed %v, %v", result, changed, err)
	}
	if _, _, err := tasktest.Run(t, h, http.Module, "{url: http://x/}"); err == nil {
		t.Error("no answer is fine without optional")
	}
	if _, _, err := tasktest.Run(t, answering(404, ""), http.Module, "{url: http://x/, optional: true}"); err == nil {
		t.Error("a wrong answer is fine with optional")
	}
}

func TestOnlyReadingIsNoChange(t *testing.T) {
	for method, want := range map[string]bool{"GET": false, "HEAD": false, "POST": true, "PUT": true, "PATCH": true, "DELETE": true} {
		h := answering(200, "")
		b := tasktest.Bind(t, h, http.Module, "{url: http://x/, method: "+method+"}")
		_, changed, err := b.Run(t.Context(), h)
		if err != nil || changed != want || b.Reversible == want {
			t.Errorf("%s: changed %v, reversible %v (%v), want %v and the opposite", method, changed, b.Reversible, err, want)
		}
	}
}

func TestRunSends(t *testing.T) {
	h := answering(200, "")
	var got task.Request
	answer := h.OnFetch
	h.OnFetch = func(r task.Request) (task.Response, error) {
		got = r
		return answer(r)
	}
	args := `{url: "http://x/", method: PUT, headers: {A: b}, secret_headers: [{name: C, value: "${secret('d')}"}], body: hi, socket: /run/s, redirects: 2, insecure: true}`
	if _, _, err := tasktest.Run(t, h, http.Module, args); err != nil {
		t.Fatal(err)
	}
	if got.Method != "PUT" || string(got.Body) != "hi" || got.Socket != "/run/s" || got.Redirects != 2 || !got.Insecure ||
		got.Header["A"] != "b" || got.Secrets["C"].IsZero() {
		t.Errorf("sent %+v", got)
	}
}

func TestRunSendsElsewhere(t *testing.T) {
	h := answering(200, "")
	var got task.Request
	answer := h.OnFetch
	h.OnFetch = func(r task.Request) (task.Response, error) {
		got = r
		return answer(r)
	}
	if _, _, err := tasktest.Run(t, h, http.Module, `{url: "https://www.example.org/", address: "[2001:db8::1]:443"}`); err != nil {
		t.Fatal(err)
	}
	if got.URL != "https://www.example.org/" || got.Address != "[2001:db8::1]:443" {
		t.Errorf("sent %+v", got)
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{}":                                "http.url: missing",
		"{url: ftp://x/}":                   "is no URL",
		"{url: http://x/, method: get}":     "is none of GET, HEAD",
		"{url: http://x/, body: hi}":        "a GET request sends none",
		"{url: http://x/, json: {a..b: c}}": "empty part",
		"{url: http://x/, method: HEAD, json: {a: c}}":                                              "has no body",
		"{url: http://x/, proxy: x}":                                                                "want env, none",
		`{url: http://x/, secret_body: "${secret('c')}"}`:                                           "a GET request sends none",
		"{url: http://x/, address: 192.0.2.1}":                                                      "want host:port",
		`{url: http://x/, address: "192.0.2.1:80", redirects: 1}`:                                   "a redirect could lead elsewhere",
		`{url: http://x/, address: "192.0.2.1:80", proxy: env}`:                                     "a proxy connects by itself",
		`{url: http://x/, address: "192.0.2.1:80", socket: /run/s}`:                                 "socket",
		"{url: http://x/, status: [1]}":                                                             "1 is no status",
		"{url: http://x/, method: HEAD, contains: a}":                                               "has no body",
		`{url: "http://x/", headers: {A: b}, secret_headers: [{name: a, value: "${secret('c')}"}]}`: "a is given twice",
		"{url: http://x/, method: POST, optional: true}":                                            "nobody would know",
		"{url: http://x/, secret_headers: [{name: A, value: b}]}":                                   "want ${secret(",
	} {
		if got := tasktest.Fault(http.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}

func TestSecretHeaders(t *testing.T) {
	var got task.Request
	h := tasktest.NewHost()
	h.OnFetch = func(r task.Request) (task.Response, error) {
		got = r
		return task.Response{Status: 200}, nil
	}
	const args = `{url: http://x/, secret_headers: [{name: A, prefix: "Bearer ", value: '${secret("a")}'}, {name: B, user: me, value: '${secret("b")}'}, {name: C, value: '${secret("c")}'}]}`
	if _, _, err := tasktest.Run(t, h, http.Module, args); err != nil {
		t.Fatal(err)
	}
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:"+tasktest.Canary))
	for name, want := range map[string]string{"A": "Bearer " + tasktest.Canary, "B": basic, "C": tasktest.Canary} {
		if got.Secrets[name].Reveal() != want {
			t.Errorf("the header %s is %q, want %q", name, got.Secrets[name].Reveal(), want)
		}
	}
	for args, want := range map[string]string{
		`{url: http://x/, secret_headers: [{name: A, user: "a:b", value: '${secret("a")}'}]}`:            "cannot be told from the password",
		`{url: http://x/, secret_headers: [{name: A, user: me, prefix: "x ", value: '${secret("a")}'}]}`: "has a prefix of its own",
	} {
		if got := tasktest.Fault(http.Module, args); !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", args, got, want)
		}
	}
}
