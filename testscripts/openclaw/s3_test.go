//go:build hosts

package openclaw_test

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// fakeS3 is no part of go.mod: what it depends on is none of the program's business.
const fakeS3 = "github.com/johannesboyne/gofakes3/cmd/gofakes3@v1.2.0"

// s3 serves a bucket "backups" on an address of this machine that hosts reach, to those
// alone who sign with the key. It returns the place as restic names it, and how many
// requests it refused.
func s3(t *testing.T, address, id, key string) (repository string, refused *atomic.Int64) {
	t.Helper()
	dir := t.TempDir()
	install := exec.CommandContext(t.Context(), "go", "install", fakeS3)
	install.Env = append(os.Environ(), "GOBIN="+dir, "CGO_ENABLED=0")
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	inner := socket.Addr().String()
	if err := socket.Close(); err != nil {
		t.Fatal(err)
	}
	server := exec.CommandContext(t.Context(), filepath.Join(dir, "gofakes3"), "-backend", "memory", "-initialbucket", "backups", "-host", inner, "-quiet")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Wait() }) // it was killed
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if conn, err := net.Dial("tcp", inner); err == nil {
			_ = conn.Close()
			break
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}

	refused = &atomic.Int64{}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: inner})
	door := http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !signed(r, id, key) {
			refused.Add(1)
			w.WriteHeader(http.StatusForbidden)
			return
		}
		proxy.ServeHTTP(w, r)
	})}
	if socket, err = net.Listen("tcp", net.JoinHostPort(address, "0")); err != nil {
		t.Fatal(err)
	}
	go func() { _ = door.Serve(socket) }() // it ends with the test
	t.Cleanup(func() { _ = door.Close() })
	return "s3:http://" + socket.Addr().String() + "/backups", refused
}

// signed says whether a request carries the signature that Amazon's version 4 makes of it
// with the key; restic is what signs.
func signed(r *http.Request, id, key string) bool {
	fields := map[string]string{}
	for part := range strings.SplitSeq(strings.TrimPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 "), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		fields[name] = value
	}
	scope := strings.Split(fields["Credential"], "/")
	if len(scope) != 5 || scope[0] != id {
		return false
	}
	request := []string{r.Method, cmp.Or(r.URL.EscapedPath(), "/"), strings.ReplaceAll(r.URL.Query().Encode(), "+", "%20")}
	for name := range strings.SplitSeq(fields["SignedHeaders"], ";") {
		value := r.Header.Get(name)
		switch name {
		case "host":
			value = r.Host
		case "content-length":
			value = cmp.Or(value, "0")
		}
		request = append(request, name+":"+strings.TrimSpace(value))
	}
	request = append(request, "", fields["SignedHeaders"], r.Header.Get("X-Amz-Content-Sha256"))
	digest := sha256.Sum256([]byte(strings.Join(request, "\n")))
	text := strings.Join([]string{"AWS4-HMAC-SHA256", r.Header.Get("X-Amz-Date"), strings.Join(scope[1:], "/"), hex.EncodeToString(digest[:])}, "\n")
	sum := []byte("AWS4" + key)
	for _, part := range append(scope[1:], text) {
		mac := hmac.New(sha256.New, sum)
		_, _ = mac.Write([]byte(part)) // never fails
		sum = mac.Sum(nil)
	}
	return hmac.Equal([]byte(hex.EncodeToString(sum)), []byte(fields["Signature"]))
}
