//go:build hosts

package openclaw_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"holdfast/tasks/openclaw/gateway"
	"holdfast/tasks/secret"
	"holdfast/tasks/task"
)

// TestTunnel reaches a gateway on loopback of a hardened host through SSH, as far as the
// server allows it. A gateway takes whoever comes that way for the host itself: the token
// is asked for, and no device is.
func TestTunnel(t *testing.T) {
	s := gateways(t, "gw1")
	address := s.address(t, "gw1")
	s.write(t, "hard.yml", fmt.Sprintf("hosts: {gw1: {address: %s}}\nssh: {users: [root, adminclaw], ports: [22, 222], keys: [%q], known_hosts: %q}\n",
		address, project.KeyPath(), project.KnownHostsPath()))
	harden := []string{"apply", "baseline", "-i", "hard.yml", "-l", "gw1", "-p", "profile=minimal", "-p", "never_ban=[" + neighbour(address) + "]"}
	s.run(t, 0, "", harden...)

	// By default the server forwards nothing.
	local := s.tunnel(t, "127.0.0.1:18789", "-i", "hard.yml", "gw1")
	if conn, err := gateway.Open(t.Context(), &through{address: local}, gateway.Options{Address: "127.0.0.1:18789"}); err == nil {
		_ = conn.Close()
		t.Error("a server that forwards nothing lets a tunnel through")
	}
	s.run(t, 0, "", append(harden, "-p", "ssh_tcp_forwarding=local")...)
	local = s.tunnel(t, "127.0.0.1:18789", "-i", "hard.yml", "gw1")
	for _, tt := range []struct {
		what, token string
		want        gateway.Outcome
	}{
		{"a wrong token", "not-the-token-of-anybody-at-all", gateway.WrongToken},
		{"a device that nobody knows, with the token", s.secret(t, "gateway_token"), gateway.OK},
	} {
		conn, err := gateway.Open(t.Context(), &through{address: local}, gateway.Options{Address: "127.0.0.1:18789",
			Token: secret.New(tt.token), Identity: s.identity(t, "stranger_key"), Scopes: []string{"operator.read"}})
		got := gateway.OK
		var refusal *gateway.Refusal
		switch {
		case errors.As(err, &refusal):
			got = refusal.Outcome
		case err != nil:
			t.Fatalf("%s: %v", tt.what, err)
		default:
			_ = conn.Close()
		}
		if got != tt.want {
			t.Errorf("%s: %s (%v), want %s", tt.what, got, err, tt.want)
		}
	}
}

// tunnel leads from a free port of this machine to an address that a host reaches, until
// the test ends. It returns the port with its address.
func (s *site) tunnel(t *testing.T, target string, argv ...string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	local := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := s.command(ctx, t, append([]string{"ssh", "-N", "-L", local + ":" + target}, argv...)...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(); _ = cmd.Wait() }) // it was interrupted
	for range 300 {
		if conn, err := net.Dial("tcp", local); err == nil {
			_ = conn.Close()
			return local
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("there is no tunnel: %s", out.String())
	return ""
}

// through reaches a gateway at an address of this machine.
type through struct {
	task.Reader // nothing else of it is asked
	address     string
}

// Connect goes there, whatever the address.
func (w *through) Connect(ctx context.Context, network, _ string) (io.ReadWriteCloser, error) {
	return new(net.Dialer).DialContext(ctx, network, w.address)
}

// pends looks for a request that waits, and was made from an address.
func (s *site) pends(t *testing.T, host, request, from string) {
	t.Helper()
	out := s.must(t, host, `u=$(id -u openclaw); cd /; runuser -u openclaw -- env HOME=/home/openclaw XDG_RUNTIME_DIR=/run/user/$u /usr/local/bin/openclaw devices list --json`)
	var list struct {
		Pending []struct{ RequestID, RemoteIP string }
	}
	if err := json.Unmarshal([]byte(out[strings.Index(out, "{"):]), &list); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, p := range list.Pending {
		if p.RequestID == request && p.RemoteIP == from {
			return
		}
	}
	t.Errorf("the stranger's request %q from %q is not among %s", request, from, out)
}
