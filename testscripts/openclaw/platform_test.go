//go:build hosts

package openclaw_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
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

// fakeProvider are the settings of a gateway that know that provider.
const fakeProvider = `"models": {"providers": {"fake": {"baseUrl": "http://127.0.0.1:18999/v1", "api": "openai-completions", "apiKey": {"source": "file", "provider": "key-anthropic", "id": "value"},
    "models": [{"id": "fake-1", "name": "fake-1"}]}}}`

// model is a provider of models on the host: it answers every question that comes with the
// key of the store, which it knows by its checksum, with the same words, one after another.
const model = `import http from 'node:http';
import {createHash} from 'node:crypto';
http.createServer((q, r) => { q.resume(); q.on('end', () => {
  if (!q.url.endsWith('/chat/completions')) { r.writeHead(404); r.end(); return }
  if (createHash('sha256').update(q.headers.authorization ?? '').digest('hex') !== 'CHECKSUM') {
    r.writeHead(401, {'content-type': 'application/json'}); r.end(JSON.stringify({error: {message: 'invalid api key'}})); return }
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
  {` + fakeProvider + `, "agents": {"entries": {"main": {"model": {"primary": "fake/fake-1"}}}}}
`

// models runs the provider on hosts.
func (s *site) models(t *testing.T, where ...string) {
	t.Helper()
	sum := sha256.Sum256([]byte("Bearer " + strings.TrimSpace(s.run(t, 0, "", "secret", "get", "anthropic_key"))))
	s.write(t, "model.mjs", strings.Replace(model, "CHECKSUM", hex.EncodeToString(sum[:]), 1))
	s.write(t, "model.yml", "playbook: model\nversion: 1.0.0\ntasks:\n  - copy: {src: model.mjs, path: /opt/model.mjs, mode: \"0644\"}\n"+
		"  - unit: {name: fake-model.service, content: \"[Service]\\nExecStart=/usr/local/bin/node /opt/model.mjs\\n\"}\n  - service: {name: fake-model, state: started}\n")
	s.run(t, 0, "", append([]string{"apply", "./model.yml"}, where...)...)
}

// TestConnectPlatform connects a platform of our own with a gateway, with a model of our own.
func TestConnectPlatform(t *testing.T) {
	const host = "gw1"
	s := gateways(t, host)
	s.run(t, 0, "", "secret", "generate", "platform_key", "--kind", "ed25519", "--replace")
	s.run(t, 0, "", "secret", "generate", "api_token", "--replace")
	s.watch(t, "gateway_token", "platform_key", "api_token", "anthropic_key")
	s.write(t, "platform.yml", platformParams)
	s.models(t, "-l", host)
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
	s.coolsDown(t, host)
	s.noSecrets(t, host, "gateway_token", "platform_key", "api_token", "anthropic_key")
}

// coolsDown has the provider want money for the key that it took before: no answer comes, and
// health says which login the gateway leaves alone for the next minutes, and why. A wrong key
// is left alone for half a minute only, which a test may miss.
func (s *site) coolsDown(t *testing.T, host string) {
	t.Helper()
	s.write(t, "chat.yml", "playbook: chat\nversion: 1.0.0\ntasks:\n  - openclaw_chat: {token: '${secret(\"gateway_token\")}', agent: main}\n    timeout: 3m\n")
	health := []string{"verify", "health", "-l", host, "-p", "load={}", "-p", "memory={}", "-p", "disk={}", "-p", "backup_dirs=[]", "--output", "json"}
	out, _ := s.try(t, "", health...)
	if f := findings(out)["models"]; f.State != "pass" {
		t.Errorf("before, health says of logins %s: %s", f.State, f.Found)
	}
	s.must(t, host, "sed -i \"s/!== '/!== 'not /; s/writeHead(401/writeHead(402/; s/invalid api key/insufficient credits/\" /opt/model.mjs && systemctl restart fake-model")
	s.run(t, 5, "", "apply", "./chat.yml", "-l", host)
	out = s.run(t, 5, "", health...)
	if f := findings(out)["models"]; f.State != "fail" || !strings.Contains(f.Found, "profile inline-api-key:fake") || !strings.Contains(f.Found, "kind: disabled\nreason: billing") {
		t.Errorf("of a login that is left alone health says %s: %s", f.State, f.Found)
	}
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
