package remote_test

import (
	"errors"
	"io"
	"testing"

	"holdfast/runner/remote"
)

// A connection that goes away while the helper starts is a lost one; a helper that ends
// by itself is not.
func TestCutWhileStarting(t *testing.T) {
	bins := remote.Binaries{{Platform: "linux/amd64", Name: "h", Hash: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}}
	for _, said := range []string{"", "Welcome to", "Welcome to web1.\n"} {
		for _, cut := range []bool{false, true} {
			c := connect(func(in io.Reader, out, _ io.Writer) {
				go func() { _, _ = io.Copy(io.Discard, in) }()
				_, _ = io.WriteString(out, said)
			})
			c.cut = cut
			_, err := remote.Open(t.Context(), c, remote.Options{Binaries: bins})
			var lost *remote.Lost
			if err == nil || errors.As(err, &lost) != cut {
				t.Errorf("after %q, cut %t: got %v", said, cut, err)
			}
		}
	}
}

func TestAsUnreachable(t *testing.T) {
	var u *remote.Unreachable
	err := remote.AsUnreachable("web1", &remote.HostKey{Host: "web1"})
	if !errors.As(err, &u) || u.Hint == "" {
		t.Errorf("an unknown key: got %v", err)
	}
	if err = remote.AsUnreachable("web1", &remote.HostKey{Host: "web1", Changed: true}); !errors.As(err, &u) || u.Hint != "" {
		t.Errorf("a changed key: got %v with the hint %q", err, u.Hint)
	}
	if again := remote.AsUnreachable("web2", err); again != err {
		t.Errorf("it was wrapped twice: %v", again)
	}
}
