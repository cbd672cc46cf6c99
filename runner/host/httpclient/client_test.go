package httpclient_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/runner/host/httpclient"
	"holdfast/tasks/secret"
	"holdfast/tasks/task"
)

// TestMain makes the certificate of httptest a root of the system.
func TestMain(m *testing.M) {
	os.Exit(func() int {
		s := httptest.NewTLSServer(nil)
		defer s.Close()
		dir, err := os.MkdirTemp("", "roots")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir) //nolint:errcheck // only a test's
		root := filepath.Join(dir, "root.pem")
		block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
		if err := errors.Join(os.WriteFile(root, block, 0o600), os.Setenv("SSL_CERT_FILE", root), os.Setenv("SSL_CERT_DIR", dir)); err != nil {
			panic(err)
		}
		return m.Run()
	}())
}

// serve starts a server and returns its URL.
func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// echo answers with the request as it came.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	_, _ = fmt.Fprintf(w, "%s %s host=%s length=%d close=%v %v body=%s", r.Method, r.RequestURI, r.Host, r.ContentLength, r.Close, r.Header, body)
}

func do(t *testing.T, req task.Request) task.Response {
	t.Helper()
	resp, err := httpclient.Do(t.Context(), req)
	if err != nil {
		t.Fatalf("Do(%s %s): %v", req.Method, req.URL, err)
	}
	return resp
}

func TestRequest(t *testing.T) {
	url := serve(t, echo)
	resp := do(t, task.Request{
		Method: "PUT", URL: url + "/a b/ü?q=c d&e=%20#fragment", Body: []byte("some text"),
		Header:  map[string]string{"x-one": " 1 ", "Host": "other.example:1", "user-agent": "me"},
		Secrets: map[string]task.SecretText{"Authorization": secret.New("Bearer x")},
	})
	want := "PUT /a%20b/%C3%BC?q=c%20d&e=%20 host=other.example:1 length=9 close=true" +
		" map[Accept:[*/*] Accept-Encoding:[identity] Authorization:[Bearer x] Connection:[close] Content-Length:[9] User-Agent:[me] X-One:[1]] body=some text"
	if got := string(resp.Body); got != want || resp.Status != 200 {
		t.Errorf("status %d\n got: %s\nwant: %s", resp.Status, got, want)
	}
	if got := resp.Header["Content-Type"]; len(got) != 1 || got[0] != "text/plain; charset=utf-8" {
		t.Errorf("Content-Type: got %q", got)
	}
	for method, want := range map[string]string{"": "GET / host=", "GET": "length=0", "POST": "length=0", "DELETE": "length=0"} {
		if got := string(do(t, task.Request{Method: method, URL: url}).Body); !strings.Contains(got, want) {
			t.Errorf("method %q: got %s, want %q in it", method, got, want)
		}
	}
	if got := string(do(t, task.Request{Method: "POST", URL: url}).Body); !strings.Contains(got, "Content-Length:[0]") {
		t.Errorf("a POST without a body: got %s, want a length", got)
	}
}

func TestRefusals(t *testing.T) {
	never := serve(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("the request went out: %s", r.RequestURI) })
	for want, req := range map[string]task.Request{
		"scheme":                     {URL: "ftp://x/"},
		`the scheme ""`:              {URL: "x/y"},
		"the host":                   {URL: "http:x"},
		"host \"\"":                  {URL: "http:///x"},
		"in ASCII":                   {URL: "http://bücher.example/"},
		"user or password":           {URL: "http://me:hunter2@x/"},
		"malformed":                  {URL: "http://me:hunter2@x/%zz"},
		"invalid control character":  {URL: "http://x/\r\nX: y"},
		"the port \"0\"":             {URL: "http://x:0/"},
		"the port \"65536\"":         {URL: "http://x:65536/"},
		"no method":                  {URL: never, Method: "GET / HTTP/1.1\r\n"},
		`"CONNECT" is no method`:     {URL: never, Method: "CONNECT"},
		"no name of a header":        {URL: never, Header: map[string]string{"A: b\r\nC": "d"}},
		"X-A holds a line break":     {URL: never, Header: map[string]string{"X-A": "hunter2\r\nC: d"}},
		"X-B holds a line break":     {URL: never, Secrets: map[string]task.SecretText{"X-B": secret.New("hunter2\n")}},
		"X-A is given twice":         {URL: never, Header: map[string]string{"X-A": "hunter2", "x-a": "hunter2"}},
		"Content-Length cannot":      {URL: never, Header: map[string]string{"Content-Length": "3"}},
		"transfer-encoding cannot":   {URL: never, Header: map[string]string{"transfer-encoding": "chunked"}},
		"Host holds no host":         {URL: never, Header: map[string]string{"Host": "a b"}},
		"connection refused":         {URL: "http://127.0.0.1:1/"},
		"no such file":               {URL: "http://x/", Socket: "/nowhere/socket"},
		"X-Secret is given twice":    {URL: never, Header: map[string]string{"X-Secret": "1"}, Secrets: map[string]task.SecretText{"x-secret": secret.New("hunter2")}},
		"\"\\x00\" is no name of a ": {URL: never, Header: map[string]string{"\x00": "d"}},
	} {
		_, err := httpclient.Do(t.Context(), req)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "cannot fetch") {
			t.Errorf("%q: got the error %v, want %q in it", req.URL, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error shows a secret: %v", err)
		}
	}
}

func TestBodies(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/chunked":
			w.Header().Set("Trailer", "X-Sum")
			for range 3 {
				_, _ = io.WriteString(w, strings.Repeat("x", 5000))
				w.(http.Flusher).Flush()
			}
			w.Header().Set("X-Sum", "1")
		case "/hints":
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusProcessing)
			_, _ = io.WriteString(w, "final")
		case "/204", "/304":
			w.WriteHeader(map[string]int{"/204": 204, "/304": 304}[r.URL.Path])
		default:
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write(bytes.Repeat([]byte("y"), 1000))
		}
	})
	for _, tt := range []struct {
		method, path string
		status, size int
	}{
		{"GET", "/chunked", 200, 15000}, {"GET", "/hints", 200, 5}, {"GET", "/204", 204, 0}, {"GET", "/304", 304, 0},
		{"GET", "/", 200, 1000}, {"HEAD", "/", 200, 0},
	} {
		resp := do(t, task.Request{Method: tt.method, URL: url + tt.path})
		if resp.Status != tt.status || len(resp.Body) != tt.size {
			t.Errorf("%s %s: got status %d and %d bytes, want %d and %d", tt.method, tt.path, resp.Status, len(resp.Body), tt.status, tt.size)
		}
		if resp.Header["X-Sum"] != nil {
			t.Errorf("%s: a trailer became a header", tt.path)
		}
	}
	for _, path := range []string{"/", "/chunked"} {
		_, err := httpclient.Do(t.Context(), task.Request{URL: url + path, MaxBody: 999})
		if err == nil || !strings.Contains(err.Error(), "larger than 999 bytes") {
			t.Errorf("%s: got the error %v, want one that it is too large", path, err)
		}
	}
	if got := do(t, task.Request{URL: url, MaxBody: 1000}); len(got.Body) != 1000 {
		t.Errorf("a body of the limit: got %d bytes", len(got.Body))
	}
}

func TestTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(echo))
	s.EnableHTTP2 = true
	s.Config.ErrorLog = quiet()
	s.StartTLS()
	defer s.Close()
	if got := string(do(t, task.Request{URL: s.URL}).Body); !strings.Contains(got, "host=127.0.0.1:") {
		t.Errorf("with the system's roots: got %s", got)
	}
	byName := strings.Replace(s.URL, "127.0.0.1", "localhost", 1)
	_, err := httpclient.Do(t.Context(), task.Request{URL: byName})
	if err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("another name than the certificate's: got the error %v", err)
	}
	if got := do(t, task.Request{URL: byName, Insecure: true}); got.Status != 200 {
		t.Errorf("insecure: got status %d", got.Status)
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(echo)}} //nolint:gosec // a test's
	s.Start()
	defer s.Close()
	if got := string(do(t, task.Request{URL: "http://any-name/x", Socket: path}).Body); !strings.HasPrefix(got, "GET /x host=any-name ") {
		t.Errorf("got %s", got)
	}
}

func TestAnotherAddress(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(echo))
	defer s.Close()
	address := strings.TrimPrefix(s.URL, "http://")
	if got := string(do(t, task.Request{URL: "http://nowhere.invalid/x", Address: address}).Body); !strings.HasPrefix(got, "GET /x host=nowhere.invalid ") {
		t.Errorf("got %s", got)
	}
}

func TestHostHeader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(echo)}} //nolint:gosec // a test's
	s.Start()
	defer s.Close()
	for url, want := range map[string]string{
		"http://Example.ORG:80/": "example.org", "http://x:443/": "x:443", "http://x:": "x", "http://x.:81/": "x.:81", "http://[::1]/": "[::1]",
		"http://[FE80::1%25eth0]:8080/": "[fe80::1]:8080", "http://[fe80::1%25eth0]/": "[fe80::1]", "http://192.0.2.1/": "192.0.2.1",
	} {
		if got := string(do(t, task.Request{URL: url, Socket: path}).Body); !strings.Contains(got, " host="+want+" ") {
			t.Errorf("%s: got %s, want the host %s", url, got, want)
		}
	}
}

func TestIPv6(t *testing.T) {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Logf("no IPv6 here, only the Host header is tested: %v", err)
		return
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(echo)}} //nolint:gosec // a test's
	s.Start()
	defer s.Close()
	if got := string(do(t, task.Request{URL: s.URL}).Body); !strings.Contains(got, " host=[::1]:") {
		t.Errorf("got %s", got)
	}
}

func TestTime(t *testing.T) {
	release := make(chan struct{})
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			_, _ = io.WriteString(w, "the beginning")
			w.(http.Flusher).Flush()
		}
		<-release
	})
	defer close(release)
	for _, path := range []string{"/head", "/body"} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		start := time.Now()
		_, err := httpclient.Do(ctx, task.Request{URL: url + path})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > time.Minute {
			t.Errorf("%s: got %v after %v, want the deadline", path, err, time.Since(start))
		}
	}
}

func TestAnswerBeforeTheRequestIsRead(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // a test's
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
		_, _ = io.Copy(io.Discard, c) // until the client has gone: it must not wait for us to read
		_ = c.Close()
	}()
	resp := do(t, task.Request{Method: "POST", URL: "http://" + l.Addr().String(), Body: make([]byte, 32<<20)})
	if resp.Status != 413 || string(resp.Body) != "no" {
		t.Errorf("got %d %q", resp.Status, resp.Body)
	}
	<-gone
}
