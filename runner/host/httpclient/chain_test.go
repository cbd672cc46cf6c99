package httpclient_test

import (
	"context"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/runner/host/httpclient"
)

func TestShown(t *testing.T) {
	srv := httptest.NewTLSServer(nil)
	defer srv.Close()
	address := strings.TrimPrefix(srv.URL, "https://")
	c, err := httpclient.Shown(context.Background(), address, "other.example")
	if err != nil || len(c.Certificates) != 1 || c.Untrusted == "" || !strings.Contains(strings.Join(c.Certificates[0].Names, " "), "example.com") {
		t.Errorf("got %+v (%v), want one of example.com that is not for other.example", c, err)
	}
	if _, err := httpclient.Shown(context.Background(), "127.0.0.1:1", "x"); err == nil || !strings.Contains(err.Error(), "cannot connect to 127.0.0.1:1") {
		t.Errorf("got %v, want that nobody is there", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	filed, err := httpclient.Filed(append([]byte("some text\n"), text...), nil, "")
	if err != nil || filed.Certificates[0].SHA256 != c.Certificates[0].SHA256 || filed.KeyMatches {
		t.Errorf("got %+v (%v), want the same", filed, err)
	}
	for in, want := range map[string]string{"": "no certificate in PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n": "certificate 1 is damaged"} {
		if _, err := httpclient.Filed([]byte(in), nil, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", in, err, want)
		}
	}
}

// openssl makes keys and certificates, and we say which belong together.
func TestKeysThatBelong(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for _, kind := range []string{"ed25519", "rsa:2048"} {
		for _, name := range []string{"a", "b"} {
			cmd := exec.Command("openssl", "req", "-x509", "-newkey", kind, "-nodes", "-days", "30", "-subj", "/CN=t.example",
				"-addext", "subjectAltName=DNS:t.example,IP:192.0.2.1", "-keyout", name+".key", "-out", name+".pem")
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("openssl: %v\n%s", err, out)
			}
		}
		own, err := httpclient.Filed(read("a.pem"), read("a.key"), "")
		if err != nil || !own.KeyMatches || strings.Join(own.Certificates[0].Names, " ") != "t.example 192.0.2.1" {
			t.Errorf("%s: got %+v (%v), want a key that belongs", kind, own, err)
		}
		if other, err := httpclient.Filed(read("a.pem"), read("b.key"), ""); err != nil || other.KeyMatches {
			t.Errorf("%s: got %+v (%v), want a key that does not", kind, other, err)
		}
	}
}
