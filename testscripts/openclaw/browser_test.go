//go:build hosts

package openclaw_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// browsers pairs the browser with a public key, and looks who is there then.
const browsers = `playbook: browsers
version: 1.0.0
params:
  key: {type: string, required: true, doc: The public key of the browser.}
  scopes: {type: list(string), required: true, doc: What it may do.}
tasks:
  - openclaw_device: {public_key: "${params.key}", scopes: "${params.scopes}", token: '${secret("gateway_token")}'}
  - openclaw_device: {state: listed, token: '${secret("gateway_token")}'}
    register: there
  - assert: {that: ['${there.devices.exists(d, d.public_key == params.key && d.client == "openclaw-control-ui" && d.tokens == 1)}']}
`

// browses opens the page of a gateway's own as a person does: the browser is refused, is
// approved by its key and for what it asks, and is in.
func (s *site) browses(t *testing.T, name string) {
	t.Helper()
	domain := name + ".test"
	s.write(t, "browsers.yml", browsers)
	s.run(t, 0, "", "apply", "./ready.yml", "-i", "fleet.yml", "-l", name)
	b := s.browser(t, "MAP "+domain+" "+s.address(t, name))
	page := b.open("https://" + domain + "/#token=" + s.secret(t, "gateway_token"))
	b.waits(page, `/pairing/i.test(text)`)
	key, err := b.evaluate(page, `JSON.parse(localStorage.getItem("openclaw-device-identity-v1")).publicKey`)
	if err != nil {
		t.Fatal(err)
	}

	approve := []string{"apply", "./browsers.yml", "-i", "fleet.yml", "-l", name, "-p", "key=" + key, "-p"}
	if out := s.run(t, 5, "", append(approve, "scopes=[operator.read]")...); !strings.Contains(out, "it asks for operator.") {
		t.Errorf("a browser that asks for more is approved, or nobody says for what:\n%s", out)
	}
	s.run(t, 0, "", append(approve, "scopes=[operator.admin, operator.read, operator.write, operator.approvals, operator.pairing, operator.questions]")...)
	b.waits(page, `!/pairing/i.test(text)`)
	if out := s.run(t, 0, "", append(approve, "scopes=[operator.read]")...); !strings.Contains(out, " 0 tasks changed") {
		t.Errorf("a paired browser is paired again:\n%s", out)
	}
}

// browser is a Chromium without windows. It is driven over two pipes, so that no address
// with a token is on a command line: JSON with a zero byte after each message
// (chromium.googlesource.com, content/browser/devtools/devtools_pipe_handler.cc).
type browser struct {
	t    *testing.T
	to   io.Writer
	from *bufio.Reader
	last int
}

// browser starts one that ends with the test. It believes any certificate: others look at
// those.
func (s *site) browser(t *testing.T, resolver string) *browser {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Minute)
	cmd := exec.CommandContext(ctx, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--ignore-certificate-errors", "--host-resolver-rules="+resolver, "--remote-debugging-pipe",
		"--user-data-dir="+t.TempDir(), "about:blank")
	in, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.ExtraFiles = []*os.File{in, out}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = in.Close(), out.Close() // the child has them
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait() // it was killed
		_, _ = to.Close(), from.Close()
	})
	return &browser{t: t, to: to, from: bufio.NewReader(from)}
}

// call waits for the answer to one message; what the browser tells besides is left out.
func (b *browser) call(session, method string, params map[string]any, answer any) error {
	b.t.Helper()
	b.last++
	message, err := json.Marshal(map[string]any{"id": b.last, "sessionId": session, "method": method, "params": params})
	if session == "" {
		message, err = json.Marshal(map[string]any{"id": b.last, "method": method, "params": params})
	}
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.to.Write(append(message, 0)); err != nil {
		b.t.Fatal(err)
	}
	for {
		text, err := b.from.ReadBytes(0)
		if err != nil {
			b.t.Fatalf("the browser does not answer %s: %v", method, err)
		}
		var got struct {
			ID     int
			Result json.RawMessage
			Error  json.RawMessage
		}
		if err := json.Unmarshal(text[:len(text)-1], &got); err != nil {
			b.t.Fatal(err)
		}
		if got.ID != b.last {
			continue
		}
		if got.Error != nil {
			return fmt.Errorf("%s: %s", method, got.Error)
		}
		return json.Unmarshal(got.Result, answer)
	}
}

// open opens a page and returns its session.
func (b *browser) open(url string) string {
	b.t.Helper()
	var target struct{ TargetID string }
	err := b.call("", "Target.createTarget", map[string]any{"url": url}, &target)
	var attached struct{ SessionID string }
	if err == nil {
		err = b.call("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return attached.SessionID
}

// evaluate is the text that an expression has on a page. A page that is on its way to
// another has none.
func (b *browser) evaluate(page, expression string) (string, error) {
	b.t.Helper()
	var answer struct {
		Result struct{ Value any }
	}
	err := b.call(page, "Runtime.evaluate", map[string]any{"expression": "String(" + expression + ")"}, &answer)
	return fmt.Sprint(answer.Result.Value), err
}

// shown is all text of a page, also within its components.
const shown = `(function all(node) {
	return [...node.childNodes].map(n => n.nodeType == 3 ? n.textContent : /^(STYLE|SCRIPT)$/.test(n.nodeName) ? "" : all(n.shadowRoot || n)).join(" ");
})(document.body)`

// waits waits until a condition holds for the text of a page that shows something.
func (b *browser) waits(page, condition string) {
	b.t.Helper()
	for range 240 {
		if got, err := b.evaluate(page, `document.readyState == "complete" && (text => text.trim() != "" && `+condition+`)(`+shown+`)`); err == nil && got == "true" {
			return
		}
		time.Sleep(500 * time.Millisecond)
	}
	text, err := b.evaluate(page, shown)
	b.t.Fatalf("waiting for %s, the page shows (%v)\n%s", condition, err, strings.Join(strings.Fields(text), " "))
}
