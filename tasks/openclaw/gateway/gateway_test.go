package gateway

import (
	"bufio"
	"crypto/ed25519"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"holdfast/tasks/secret"
	"holdfast/tasks/tasktest"
)

// fake is the other end: it plays a gateway as far as a test needs one.
type fake struct {
	conn net.Conn
	in   *bufio.Reader
	head string
}

func (f *fake) welcome() {
	f.in = bufio.NewReader(f.conn)
	key := ""
	for {
		line, err := f.in.ReadString('\n')
		if err != nil || line == "\r\n" {
			break
		}
		f.head += line
		if v, ok := strings.CutPrefix(line, "Sec-WebSocket-Key: "); ok {
			key = strings.TrimSpace(v)
		}
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	fmt.Fprintf(f.conn, "HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: %s\r\n\r\n", base64.StdEncoding.EncodeToString(sum[:]))
}

func (f *fake) frame(first byte, data []byte) {
	head := []byte{first, byte(len(data))}
	if len(data) > 125 {
		head = binary.BigEndian.AppendUint16([]byte{first, 126}, uint16(len(data)))
	}
	_, _ = f.conn.Write(append(head, data...))
}

func (f *fake) say(text string) { f.frame(0x81, []byte(text)) }

func (f *fake) end(code uint16, reason string) {
	f.frame(0x88, append(binary.BigEndian.AppendUint16(nil, code), reason...))
}

// hear reads one masked message of the client.
func (f *fake) hear() (op byte, data []byte) {
	var head [2]byte
	_, _ = io.ReadFull(f.in, head[:])
	size := int(head[1] & 0x7f)
	if size == 126 {
		var more [2]byte
		_, _ = io.ReadFull(f.in, more[:])
		size = int(binary.BigEndian.Uint16(more[:]))
	}
	var mask [4]byte
	_, _ = io.ReadFull(f.in, mask[:])
	data = make([]byte, size)
	_, _ = io.ReadFull(f.in, data)
	for i := range data {
		data[i] ^= mask[i%4]
	}
	return head[0] & 0x0f, data
}

const greeting = `{"type":"event","event":"connect.challenge","payload":{"nonce":"n0nce","ts":1700000000000}}`

// open connects to what play does.
func open(t *testing.T, o Options, play func(*fake)) (*Conn, error) {
	t.Helper()
	here, there := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer there.Close() //nolint:errcheck // the test is over
		play(&fake{conn: there})
	}()
	t.Cleanup(func() { here.Close(); <-done }) //nolint:errcheck // the test is over
	h := tasktest.NewHost()
	h.OnConnect = func(string, string) (io.ReadWriteCloser, error) { return here, nil }
	o.Address = "127.0.0.1:18789"
	return Open(t.Context(), h, o)
}

func seed(t *testing.T) *Identity {
	t.Helper()
	id, err := NewIdentity(secret.New(strings.Repeat("ab", 32)))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestSigns(t *testing.T) {
	var sent struct {
		Method string
		Params struct {
			MinProtocol, MaxProtocol int
			Auth                     struct{ Token string }
			Device                   struct {
				ID, PublicKey, Signature, Nonce string
				SignedAt                        int64
			}
		}
	}
	var head string
	c, err := open(t, Options{Token: secret.New("t0ken\n"), Identity: seed(t), Scopes: []string{"a", "b"}, Forwarded: "203.0.113.7", Origin: "https://x"}, func(f *fake) {
		f.welcome()
		head = f.head
		f.say(greeting)
		_, data := f.hear()
		if err := json.Unmarshal(data, &sent); err != nil {
			t.Error(err)
		}
		f.frame(0x89, []byte("ping")) // a ping and a message in two parts, between which an event does not fit
		if op, pong := f.hear(); op != opPong || string(pong) != "ping" {
			t.Errorf("got %d %q for a ping", op, pong)
		}
		f.say(`{"type":"event","event":"tick"}`)
		f.frame(0x01, []byte(`{"type":"res","id":"1","ok":true,"payload":{"server":{"version":"1.2`))
		f.frame(0x80, []byte(`"},"auth":{"scopes":["a","b"],"deviceToken":"d"}}}`))
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.Version != "1.2" || c.DeviceToken.Reveal() != "d" {
		t.Errorf("got version %q", c.Version)
	}
	if !strings.Contains(head, "X-Forwarded-For: 203.0.113.7\r\n") || !strings.Contains(head, "Origin: https://x\r\n") {
		t.Errorf("sent %s", head)
	}
	p := sent.Params
	key, _ := base64.RawURLEncoding.DecodeString(p.Device.PublicKey)
	sig, _ := base64.RawURLEncoding.DecodeString(p.Device.Signature)
	text := "v3|" + p.Device.ID + "|gateway-client|backend|operator|a,b|1700000000000|t0ken|n0nce|linux|"
	if sent.Method != "connect" || p.MinProtocol != 4 || p.MaxProtocol != 4 || p.Auth.Token != "t0ken" || p.Device.SignedAt != 1700000000000 || !ed25519.Verify(key, []byte(text), sig) {
		t.Errorf("sent %+v", sent)
	}
}

func TestOutcomes(t *testing.T) {
	answers := func(text string) func(*fake) {
		return func(f *fake) {
			f.welcome()
			f.say(greeting)
			f.hear()
			f.say(`{"type":"res","id":"1",` + text + `}`)
		}
	}
	ends := func(code uint16, reason string) func(*fake) {
		return func(f *fake) { f.welcome(); f.end(code, reason); f.hear() }
	}
	http := func(text string) func(*fake) {
		return func(f *fake) {
			in := bufio.NewReader(f.conn)
			for line := ""; line != "\r\n"; {
				line, _ = in.ReadString('\n')
			}
			_, _ = io.WriteString(f.conn, text)
		}
	}
	for name, tt := range map[string]struct {
		play func(*fake)
		want Outcome
		in   string
	}{
		"not paired": {answers(`"ok":false,"error":{"code":"NOT_PAIRED","message":"m","details":{"code":"PAIRING_REQUIRED","reason":"not-paired","requestId":"r-1"}}`), NotPaired, "not-paired"},
		"token":      {answers(`"ok":false,"error":{"code":"INVALID_REQUEST","message":"m","details":{"code":"AUTH_TOKEN_MISMATCH"}}`), WrongToken, "AUTH_TOKEN_MISMATCH"},
		"origin":     {answers(`"ok":false,"error":{"code":"X","details":{"code":"CONTROL_UI_ORIGIN_NOT_ALLOWED"}}`), Origin, ""},
		"protocol":   {answers(`"ok":false,"error":{"code":"X","details":{"code":"PROTOCOL_MISMATCH"}}`), Protocol, ""},
		"scope":      {answers(`"ok":true,"payload":{"auth":{"scopes":[]}}`), MissingScope, "operator.read is not granted"},
		"forbidden":  {answers(`"ok":false,"error":{"code":"FORBIDDEN","message":"missing scope: operator.read"}`), MissingScope, ""},
		"no reason":  {answers(`"ok":false`), Refused, "does not say why"},
		"1002":       {ends(1002, "x"), Protocol, "close 1002"},
		"1008":       {ends(1008, "something"), Refused, "something (close 1008)"},
		"1012":       {ends(1012, "service restart"), Starting, ""},
		"4008":       {ends(4008, "slow"), Refused, "close 4008"},
		"proxy":      {http("HTTP/1.1 403 Forbidden\r\n\r\n{\"type\":\"proxy_attribution_required\"}"), Proxy, "403"},
		"locked out": {http("HTTP/1.1 429 Too Many\r\n\r\n"), LockedOut, ""},
		"draining":   {http("HTTP/1.1 503 No\r\n\r\n"), Starting, ""},
		"a web page": {http("HTTP/1.1 200 OK\r\n\r\n<html>"), Unreachable, "HTTP 200"},
		"ssh":        {http("SSH-2.0-OpenSSH\r\n"), Unreachable, "does not speak HTTP"},
		"wrong key":  {http("HTTP/1.1 101 Ok\r\nSec-WebSocket-Accept: x\r\n\r\n"), Unreachable, "no WebSocket"},
		"endless":    {http("HTTP/1.1 101 Ok\r\n" + strings.Repeat("a: b\r\n", 4000)), Unreachable, "too long"},
		"masked":     {func(f *fake) { f.welcome(); f.frame(0xC1, []byte("x")) }, Unreachable, "no server may send"},
		"no gateway": {func(f *fake) { f.welcome(); f.say(`{"type":"event","event":"hi"}`) }, Unreachable, "no challenge"},
		"too large":  {func(f *fake) { f.welcome(); _, _ = f.conn.Write([]byte{0x81, 127, 0, 0, 0, 1, 0, 0, 0, 0}) }, Unreachable, "more than"},
		"gone":       {func(f *fake) { f.welcome() }, Unreachable, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := open(t, Options{Scopes: []string{"operator.read"}}, tt.play)
			var r *Refusal
			if !errors.As(err, &r) || r.Outcome != tt.want || !strings.Contains(r.Error(), tt.in) {
				t.Fatalf("got %v, want %s with %q", err, tt.want, tt.in)
			}
			if name == "not paired" && r.RequestID != "r-1" {
				t.Errorf("got the request %q", r.RequestID)
			}
		})
	}
}

func TestIdentity(t *testing.T) {
	// The key of RFC 8410, section 10.3.
	const example = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n"
	id, err := NewIdentity(secret.New(example))
	if err != nil || id.Public != "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE" {
		t.Errorf("got %+v, %v", id, err)
	}
	for _, bad := range []string{"", "abc", strings.Repeat("zz", 32), strings.Repeat("ab", 31), "-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----"} {
		if _, err := NewIdentity(secret.New(bad)); err == nil || strings.Contains(err.Error(), bad) && bad != "" {
			t.Errorf("%q: got %v", bad, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte{0x81, 2, '{', '}'})
	f.Add([]byte{0x01, 1, 'a', 0x89, 0, 0x80, 1, 'b'})
	f.Add([]byte{0x88, 2, 3, 0xE8})
	f.Add([]byte{0x81, 127, 255, 255, 255, 255, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &socket{conn: discard{}, in: bufio.NewReader(strings.NewReader(string(data)))}
		for range 100 {
			message, err := s.read()
			if len(message) > maxMessage {
				t.Errorf("a message of %d bytes", len(message))
			}
			if err != nil {
				return
			}
		}
	})
}

type discard struct{}

func (discard) Read([]byte) (int, error)    { return 0, io.EOF }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Close() error                { return nil }
