package httpclient_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"holdfast/runner/host/httpclient"
	"holdfast/tasks/secret"
	"holdfast/tasks/task"
)

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

// hop answers /STATUS?to=URL with a redirect, and everything else as echo does.
func hop(w http.ResponseWriter, r *http.Request) {
	status, err := strconv.Atoi(strings.Trim(r.URL.Path, "/"))
	if err != nil {
		echo(w, r)
		return
	}
	if to := r.URL.Query().Get("to"); to != "" {
		w.Header().Set("Location", to)
	}
	w.WriteHeader(status)
}

func TestRedirectMethods(t *testing.T) {
	url := serve(t, hop)
	for _, tt := range []struct {
		method string
		status int
		want   string
	}{
		{"GET", 301, "GET /end"}, {"GET", 302, "GET /end"}, {"GET", 303, "GET /end"}, {"GET", 307, "GET /end"}, {"GET", 308, "GET /end"},
		{"POST", 301, "GET /end"}, {"POST", 302, "GET /end"}, {"POST", 303, "GET /end"}, {"POST", 307, "POST /end"}, {"POST", 308, "POST /end"},
		{"PUT", 301, "PUT /end"}, {"PUT", 303, "GET /end"}, {"DELETE", 302, "DELETE /end"},
	} {
		req := task.Request{Method: tt.method, URL: fmt.Sprintf("%s/%d?to=end", url, tt.status), Redirects: 1, Header: map[string]string{"Content-Type": "x/y"}}
		if tt.method != "GET" {
			req.Body = []byte("text")
		}
		got := string(do(t, req).Body)
		kept := strings.HasPrefix(tt.want, tt.method)
		if !strings.HasPrefix(got, tt.want+" ") || strings.Contains(got, "Content-Type:[x/y]") != kept || strings.HasSuffix(got, "body=text") != (kept && req.Body != nil) {
			t.Errorf("%s, status %d: got %s, want %s", tt.method, tt.status, got, tt.want)
		}
	}
	if got := do(t, task.Request{Method: "HEAD", URL: url + "/303?to=/end", Redirects: 1}); got.Status != 200 || len(got.Body) != 0 {
		t.Errorf("HEAD, status 303: got %d and %q", got.Status, got.Body)
	}
}

func TestRedirectCount(t *testing.T) {
	url := serve(t, hop)
	for redirects, want := range map[int64]int{0: 302, 1: 301, 2: 200, 3: 200} {
		got := do(t, task.Request{URL: url + "/302?to=%2F301%3Fto%3D%2Fend", Redirects: redirects})
		if got.Status != want {
			t.Errorf("%d redirects: got status %d, want %d", redirects, got.Status, want)
		}
	}
	for _, path := range []string{"/302", "/300?to=/end", "/304?to=/end"} {
		if got := do(t, task.Request{URL: url + path, Redirects: 5}); fmt.Sprint(got.Status) != path[1:4] {
			t.Errorf("%s: got status %d, want it as it is", path, got.Status)
		}
	}
	for to, want := range map[string]string{"file:///etc/passwd": "scheme", "http://me:hunter2@x/": "user or password", "http://%25zz/": "malformed"} {
		_, err := httpclient.Do(t.Context(), task.Request{URL: url + "/302?to=" + to, Redirects: 1})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "cannot follow the redirect") {
			t.Errorf("redirect to %s: got the error %v, want %q in it", to, err, want)
		}
	}
}

// TestRedirectSecrets wants secrets to stay with the origin they were meant for,
// also when a redirect leads there again.
func TestRedirectSecrets(t *testing.T) {
	first, second := serve(t, hop), serve(t, hop)
	secrets := map[string]task.SecretText{"x-key": secret.New("hunter2")}
	header := map[string]string{"Cookie": "hunter2", "Authorization": "hunter2", "Host": "hunter2.example", "X-Open": "open"}
	for to, kept := range map[string]bool{
		"/end": true, first + "/end": true, second + "/end": false, second + "/302?to=" + first + "/end": false,
		strings.Replace(first, "127.0.0.1", "localhost", 1) + "/end": false,
	} {
		req := task.Request{URL: first + "/307?to=" + to, Redirects: 2, Secrets: secrets, Header: header}
		got := string(do(t, req).Body)
		if strings.Count(got, "hunter2") != map[bool]int{true: 4, false: 0}[kept] || !strings.Contains(got, "X-Open:[open]") {
			t.Errorf("redirect to %s: got %s, want secrets %v", to, got, kept)
		}
	}
}
