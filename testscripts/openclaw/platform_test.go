//go:build hosts

package openclaw_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// model is a provider of models on the host: it answers every question with the same
// words, one after another.
const model = `import http from 'node:http';
http.createServer((q, r) => { q.resume(); q.on('end', () => {
  if (!q.url.endsWith('/chat/completions')) { r.writeHead(404); r.end(); return }
  r.writeHead(200, {'content-type': 'text/event-stream'});
  const say = (delta, end) => r.write('data: ' + JSON.stringify({id: 'c', object: 'chat.completion.chunk', created: 1, model: 'fake-1', choices: [{index: 0, delta, finish_reason: end}]}) + '\n\n');
  const words = ['Hello', ' from', ' the', ' fake', ' model.']; say({role: 'assistant', content: ''}, null);
  const t = setInterval(() => { if (words.length) { say({content: words.shift()}, null); return }
    clearInterval(t); say({}, 'stop'); r.end('data: [DONE]\n\n') }, 200);
})}).listen(18999, '127.0.0.1');
`

const platformParams = `device_key: platform_key
name: test-sandbox-primary
url: https://gw.example.com
answer_contains: fake model
files:
  - {agent: main, name: IDENTITY.md, content: "# A mentor\n"}
  - {agent: main, name: SOUL.md, content: "Kind, and brief.\n"}
settings: |
  {"models": {"providers": {"fake": {"baseUrl": "http://127.0.0.1:18999/v1", "api": "openai-completions", "apiKey": {"source": "file", "provider": "key-anthropic", "id": "value"},
    "models": [{"id": "fake-1", "name": "fake-1"}]}}}, "agents": {"entries": {"main": {"model": {"primary": "fake/fake-1"}}}}}
`

// TestConnectPlatform connects a platform of our own with a gateway, with a model of our own.
func TestConnectPlatform(t *testing.T) {
	const host = "gw1"
	s := gateways(t, host)
	s.run(t, 0, "", "secret", "generate", "platform_key", "--kind", "ed25519", "--replace")
	s.run(t, 0, "", "secret", "generate", "api_token", "--replace")
	s.watch(t, "gateway_token", "platform_key", "api_token", "anthropic_key")
	s.write(t, "platform.yml", platformParams)
	s.write(t, "model.mjs", model)
	s.write(t, "model.yml", "playbook: model\nversion: 1.0.0\ntasks:\n  - copy: {src: model.mjs, path: /opt/model.mjs, mode: \"0644\"}\n"+
		"  - unit: {name: fake-model.service, content: \"[Service]\\nExecStart=/usr/local/bin/node /opt/model.mjs\\n\"}\n  - service: {name: fake-model, state: started}\n")
	s.run(t, 0, "", "apply", "./model.yml", "-l", host)
	connect := []string{"apply", "connect-platform", "--params", "platform.yml", "-l", host}

	// Settings that are locked stay as they are, and that is said.
	if out := s.run(t, 5, "", connect...); !strings.Contains(out, "settings_locked=false") {
		t.Errorf("a gateway with locked settings fails otherwise:\n%s", out)
	}
	s.run(t, 0, "", "apply", "openclaw", "--params", "params.yml", "-p", "settings_locked=false", "-l", host)
	out := s.run(t, 0, "", connect...)
	if !strings.Contains(out, "settings of the gateway") {
		t.Errorf("the settings were not pushed:\n%s", out)
	}
	if out := s.run(t, 0, "", connect...); !strings.Contains(out, " 0 tasks changed") {
		t.Errorf("the second run changes something:\n%s", out)
	}
	if out, _ := s.console(t, host, "cat /home/openclaw/.openclaw/workspace-main/SOUL.md"); out != "Kind, and brief.\n" {
		t.Errorf("SOUL.md has %q", out)
	}
	// What the platform pushed stays when the playbook of the gateway is applied again.
	if out := s.run(t, 0, "", "apply", "openclaw", "--params", "params.yml", "-p", "settings_locked=false", "-l", host); !strings.Contains(out, " 0 tasks changed") {
		t.Errorf("the gateway's own playbook changes something:\n%s", out)
	}
	s.run(t, 0, "", "verify", "connect-platform", "--params", "platform.yml", "-l", host)
	s.records(t, connect)
	s.noSecrets(t, host, "gateway_token", "platform_key", "api_token", "anthropic_key")
}

// records sends the record of the gateway to a platform of our own.
func (s *site) records(t *testing.T, connect []string) {
	t.Helper()
	got := make(chan string, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // half a record fails the test as well
		got <- r.Method + " " + r.Header.Get("Authorization") + "\n" + string(body)
		w.WriteHeader(http.StatusOK)
	}))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "record.json")
	s.run(t, 0, "", append(connect, "-p", "record="+file, "-p", "api="+server.URL+"/instances/1", "-p", "api_token=[api_token]", "-p", "chat=false")...)
	head, body, _ := strings.Cut(<-got, "\n")
	if want := "PUT Bearer " + strings.TrimSpace(s.run(t, 0, "", "secret", "get", "api_token")); head != want {
		t.Error("the platform's API was asked otherwise")
	}
	written, err := os.ReadFile(file)
	if info, e := os.Stat(file); err != nil || e != nil || info.Mode().Perm() != 0o600 || string(written) != body {
		t.Error("the record in the file is not that of the API, or others may read it")
	}
	var record struct {
		Name             string
		ServerURL        string `json:"server_url"`
		GatewayToken     string `json:"gateway_token"`
		ConnectionParams struct {
			DeviceIdentity struct {
				PrivateKeyPEM string `json:"private_key_pem"`
			} `json:"device_identity"`
		} `json:"connection_params"`
	}
	if err := json.Unmarshal([]byte(body), &record); err != nil {
		t.Fatal("the record is no JSON")
	}
	block, _ := pem.Decode([]byte(record.ConnectionParams.DeviceIdentity.PrivateKeyPEM))
	if block == nil {
		t.Fatal("the record has no key")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if _, is := key.(ed25519.PrivateKey); err != nil || !is || record.Name != "test-sandbox-primary" || record.ServerURL != "https://gw.example.com" ||
		record.GatewayToken != strings.TrimSpace(s.run(t, 0, "", "secret", "get", "gateway_token")) {
		t.Errorf("the record is not the gateway's: %s at %s, %v", record.Name, record.ServerURL, err)
	}
}
