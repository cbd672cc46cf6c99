package httpclient_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"holdfast/runner/host/httpclient"
	"holdfast/tasks/task"
)

// proxying is a proxy that notes what it is asked for.
type proxying struct{ asked []string }

func (p *proxying) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.asked = append(p.asked, fmt.Sprintf("%s %s auth=%q", r.Method, r.RequestURI, r.Header.Get("Proxy-Authorization")))
	if strings.HasPrefix(r.Host, "refused.") {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	if r.Method != http.MethodConnect {
		_, _ = w.Write([]byte("through the proxy"))
		return
	}
	up, err := net.Dial("tcp", r.Host)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	down, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	_, _ = down.Write([]byte("HTTP/1.1 200 Connected\r\n\r\n"))
	go func() { _, _ = io.Copy(up, down); _ = up.Close() }()
	_, _ = io.Copy(down, up)
	_ = down.Close()
}

func TestProxy(t *testing.T) {
	p := &proxying{}
	front := httptest.NewServer(p)
	defer front.Close()
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("the server")) }))
	defer secure.Close()

	got := do(t, task.Request{URL: "http://there.example/a?b", Proxy: front.URL})
	if string(got.Body) != "through the proxy" {
		t.Errorf("http: got %q", got.Body)
	}
	got = do(t, task.Request{URL: secure.URL, Proxy: front.URL})
	if string(got.Body) != "the server" {
		t.Errorf("https: got %q", got.Body)
	}
	want := []string{`GET http://there.example/a?b auth=""`, "CONNECT " + strings.TrimPrefix(secure.URL, "https://") + ` auth=""`}
	if strings.Join(p.asked, "; ") != strings.Join(want, "; ") {
		t.Errorf("the proxy was asked for %q, want %q", p.asked, want)
	}
	_, err := httpclient.Do(t.Context(), task.Request{URL: "https://refused.example/", Proxy: front.URL})
	if err == nil || !strings.Contains(err.Error(), "answers CONNECT with status 403") {
		t.Errorf("refused: got %v", err)
	}
	_, err = httpclient.Do(t.Context(), task.Request{URL: "http://there.example/", Proxy: "http://127.0.0.1:1"})
	if err == nil || !strings.Contains(err.Error(), "cannot use the proxy 127.0.0.1:1") {
		t.Errorf("no proxy there: got %v", err)
	}
}

func TestProxyOfTheEnvironment(t *testing.T) {
	p := &proxying{}
	front := httptest.NewServer(p)
	defer front.Close()
	direct := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("direct")) })
	t.Setenv("http_proxy", strings.Replace(front.URL, "http://", "user:pa%24s@", 1))
	t.Setenv("https_proxy", "")
	t.Setenv("HTTPS_PROXY", front.URL)
	t.Setenv("no_proxy", "other.example, .in.example,10.0.0.0/8")
	if got := do(t, task.Request{URL: "http://there.example/", Proxy: task.ProxyFromEnv}); string(got.Body) != "through the proxy" {
		t.Errorf("got %q", got.Body)
	}
	if want := `GET http://there.example/ auth="Basic dXNlcjpwYSRz"`; len(p.asked) != 1 || p.asked[0] != want {
		t.Errorf("the proxy was asked for %q, want %q", p.asked, want)
	}
	if got := do(t, task.Request{URL: direct, Proxy: task.ProxyFromEnv}); string(got.Body) != "direct" {
		t.Errorf("this machine is reached through the proxy: %q", got.Body)
	}
	for _, host := range []string{"other.example", "a.in.example", "10.1.2.3"} {
		p.asked = nil
		ctx, cancel := contextOf(t)
		_, _ = httpclient.Do(ctx, task.Request{URL: "http://" + host + ":1/", Proxy: task.ProxyFromEnv})
		cancel()
		if len(p.asked) > 0 {
			t.Errorf("%s is reached through the proxy: %q", host, p.asked)
		}
	}
	t.Setenv("http_proxy", "socks5://user:hidden@x")
	_, err := httpclient.Do(t.Context(), task.Request{URL: "http://there.example/", Proxy: task.ProxyFromEnv})
	if err == nil || !strings.Contains(err.Error(), "want http://host:port") || strings.Contains(err.Error(), "hidden") {
		t.Errorf("got %v, want a refusal that hides the password", err)
	}
}

// contextOf ends soon: whether somebody answers is not asked.
func contextOf(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), 200*time.Millisecond)
}
