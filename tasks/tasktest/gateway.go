package tasktest

import (
	"bufio"
	"crypto/sha1" //nolint:gosec // RFC 6455 wants it, and not for secrecy
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"

	"holdfast/tasks/task"
)

// GatewayCall is a request of a client that was let in.
type GatewayCall struct {
	Token  string
	Device string // its name, or nothing
	Scopes []string
	Method string
	Params json.RawMessage
}

// Into reads the parameters.
func (c *GatewayCall) Into(out any) error { return json.Unmarshal(c.Params, out) }

// GatewayRefusal is an error as the gateway words it.
type GatewayRefusal struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Details any    `json:"details,omitempty"`
}

// Gateway plays an OpenClaw gateway, as far as tests of modules that talk to one need it.
type Gateway struct {
	// Enter answers whoever logs in; nil lets them in. Its Method is connect.
	Enter func(c *GatewayCall) *GatewayRefusal
	// Answer answers calls. Events, each a JSON object with event and payload, come after the answer.
	Answer func(c *GatewayCall) (payload any, events []string, refusal *GatewayRefusal)

	mu    sync.Mutex
	calls []string
}

// Calls are the methods that were called, connect left out.
func (g *Gateway) Calls() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.Join(g.calls, " ")
}

// Host is a host with the gateway on its usual port.
func (g *Gateway) Host() *Host {
	h := NewHost()
	h.AddListener(task.Listener{Proto: "tcp", Address: "127.0.0.1", Port: 18789})
	h.OnConnect = func(string, string) (io.ReadWriteCloser, error) {
		here, there := net.Pipe()
		go func() {
			_ = g.serve(there) // it ends when the client goes
			_ = there.Close()
		}()
		return here, nil
	}
	return h
}

type gatewayRequest struct {
	ID     string          `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
}

func (g *Gateway) serve(conn net.Conn) error {
	in := bufio.NewReader(conn)
	if err := welcome(conn, in); err != nil {
		return err
	}
	if err := say(conn, `{"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":1}}`); err != nil {
		return err
	}
	var who GatewayCall
	for {
		data, err := hear(in)
		if err != nil {
			return err
		}
		var r gatewayRequest
		if err := json.Unmarshal(data, &r); err != nil {
			return err
		}
		if err := g.reply(conn, &who, &r); err != nil {
			return err
		}
	}
}

func (g *Gateway) reply(conn net.Conn, who *GatewayCall, r *gatewayRequest) error {
	c := *who
	c.Method, c.Params = r.Method, r.Params
	var (
		payload any
		events  []string
		refusal *GatewayRefusal
	)
	if r.Method == "connect" {
		var p struct {
			Scopes []string
			Auth   struct{ Token string }
			Device struct{ ID string }
		}
		if err := c.Into(&p); err != nil {
			return err
		}
		c.Token, c.Device, c.Scopes = p.Auth.Token, p.Device.ID, p.Scopes
		*who = c
		payload = map[string]any{"server": map[string]string{"version": "1"}, "auth": map[string]any{"scopes": p.Scopes}}
		if g.Enter != nil {
			refusal = g.Enter(&c)
		}
	} else {
		g.mu.Lock()
		g.calls = append(g.calls, c.Method)
		g.mu.Unlock()
		payload, events, refusal = g.Answer(&c)
	}
	answer := map[string]any{"type": "res", "id": r.ID, "ok": refusal == nil, "payload": payload}
	if refusal != nil {
		answer["error"], answer["payload"] = refusal, nil
	}
	text, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	for _, message := range append([]string{string(text)}, events...) {
		if err := say(conn, message); err != nil {
			return err
		}
	}
	return nil
}

func welcome(conn net.Conn, in *bufio.Reader) error {
	key := ""
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		if line == "\r\n" {
			break
		}
		if v, ok := strings.CutPrefix(line, "Sec-WebSocket-Key: "); ok {
			key = strings.TrimSpace(v)
		}
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // see above
	_, err := fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: %s\r\n\r\n", base64.StdEncoding.EncodeToString(sum[:]))
	return err
}

// say sends a message.
func say(conn net.Conn, text string) error {
	head := []byte{0x81, byte(len(text))}
	if len(text) > 125 {
		head = binary.BigEndian.AppendUint16([]byte{0x81, 126}, uint16(len(text)))
	}
	_, err := conn.Write(append(head, text...))
	return err
}

// hear reads a message of the client, which is masked.
func hear(in *bufio.Reader) ([]byte, error) {
	var head [8]byte
	if _, err := io.ReadFull(in, head[:2]); err != nil {
		return nil, err
	}
	if head[0]&0x0f == 0x08 {
		return nil, io.EOF
	}
	size := int(head[1] & 0x7f)
	if size == 126 {
		if _, err := io.ReadFull(in, head[:2]); err != nil {
			return nil, err
		}
		size = int(binary.BigEndian.Uint16(head[:2]))
	}
	var mask [4]byte
	if _, err := io.ReadFull(in, mask[:]); err != nil {
		return nil, err
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(in, data); err != nil {
		return nil, err
	}
	for i := range data {
		data[i] ^= mask[i%4]
	}
	return data, nil
}
