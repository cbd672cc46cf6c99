//go:build hosts

package openclaw_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/tasks/openclaw/gateway"
	"holdfast/tasks/secret"
)

// fakeModel are params of a gateway whose agent is answered by the provider of the tests.
const fakeModel = `agents: {main: fake/fake-1}
settings: |
  {` + fakeProvider + `}
`

// chats says something to an agent through the Caddy of its host, as a paired device
// elsewhere does, and hears the answer in parts and to its end.
func (s *site) chats(t *testing.T, ca *authority, name string) {
	t.Helper()
	where := []string{"-i", "fleet.yml", "-l", name}
	s.models(t, where...)
	conn, err := gateway.Open(t.Context(), &outside{ca: ca, address: s.address(t, name), name: name + ".test"}, gateway.Options{
		Address: name + ".test", Token: secret.New(s.secret(t, "gateway_token")), Identity: s.identity(t, "device_key"), Scopes: []string{gateway.Read, gateway.Write}})
	if err != nil {
		t.Fatal(err)
	}
	// Who waits for an answer that never comes ends here.
	defer time.AfterFunc(3*time.Minute, func() { _ = conn.Close() }).Stop()
	const talk = "through-caddy"
	if err := conn.Ask("chat.send", map[string]string{"sessionKey": "agent:main:" + talk, "message": "Hello", "idempotencyKey": talk}, nil); err != nil {
		t.Fatal(err)
	}
	for parts := 0; ; {
		event, payload, err := conn.Event()
		if err != nil {
			t.Fatalf("after %d parts of an answer: %v", parts, err)
		}
		var m struct {
			RunID, State string
			Message      struct{ Content []struct{ Text string } }
		}
		if event != "chat" || json.Unmarshal(payload, &m) != nil || m.RunID != talk {
			continue
		}
		switch m.State {
		case "delta":
			parts++
			continue
		case "final", "error", "aborted":
		default: // such as that a workspace is prepared
			continue
		}
		if m.State != "final" || parts == 0 || len(m.Message.Content) != 1 || m.Message.Content[0].Text != "Hello from the fake model." {
			t.Errorf("after %d parts the answer is %s", parts, payload)
		}
		break
	}
	_ = conn.Close() // all was said
	s.run(t, 0, "", "undo", s.lastRun(t, "model", name), "-i", "fleet.yml", "-l", name)
}

// reached has the doctor look from here at a gateway through its Caddy: while both run, and
// while one of them does not. Who asks meanwhile with a token in the address leaves it nowhere.
func (s *site) reached(t *testing.T, ca *authority, name string) {
	t.Helper()
	address, domain := s.address(t, name)+":443", name+".test"
	root := filepath.Join(project.dir, "authority.pem")
	if err := os.WriteFile(root, []byte(ca.root), 0o600); err != nil {
		t.Fatal(err)
	}
	reach := func(state, found string) {
		t.Helper()
		out, _ := s.try(t, "", "verify", "doctor-openclaw", "-i", "fleet.yml", "-l", name, "--output", "json", "-p", "url=https://"+domain, "-p", "url_address="+address)
		if f := findings(out)["reach"]; f.State != state || !strings.Contains(f.Found, found) {
			t.Errorf("%s is reached: %q, found %q, want %s, %q\n%s", name, f.State, f.Found, state, found, out)
		}
	}
	reach("fail", "certificate")
	s.env = []string{"SSL_CERT_FILE=" + root}
	defer func() { s.env = nil }()
	reach("pass", "status 200")
	forgets := func(want int) {
		t.Helper()
		token := s.secret(t, "gateway_token")
		if status, _ := ask(t, visitor(ca, s.address(t, name), domain), "GET", "https://"+domain+"/?token="+token, "Authorization", "Bearer "+token); status != want {
			t.Errorf("%s: a request with a token is answered %d, want %d", name, status, want)
		}
	}
	forgets(200)
	s.must(t, name, bus+"bus stop openclaw-gateway")
	forgets(502)
	reach("fail", "status 502")
	s.must(t, name, bus+"bus start openclaw-gateway && systemctl stop caddy")
	reach("fail", "refused")
	s.must(t, name, "systemctl start caddy")
}
