package gateway

import (
	"bufio"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // RFC 6455 wants it, and not for secrecy
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// What a frame carries (RFC 6455, section 5.2).
const (
	opContinue = 0x0
	opText     = 0x1
	opBinary   = 0x2
	opClose    = 0x8
	opPing     = 0x9
	opPong     = 0xA
)

const (
	maxMessage = 4 << 20  // the greeting describes the whole gateway
	maxHeader  = 16 << 10 // of the answer to the upgrade
	maxRefusal = 4 << 10  // of the body of an answer that is no upgrade
)

// closed is the end of a connection as the other side said it.
type closed struct {
	code   int
	reason string
}

func (c *closed) Error() string {
	return fmt.Sprintf("the gateway closed the connection, %d %s", c.code, c.reason)
}

// unwelcome is an HTTP answer that is no upgrade.
type unwelcome struct {
	status int
	body   string
}

func (u *unwelcome) Error() string {
	return fmt.Sprintf("the gateway answers HTTP %d: %s", u.status, u.body)
}

// socket is a WebSocket over a connection.
type socket struct {
	conn io.ReadWriteCloser
	in   *bufio.Reader
}

// upgrade makes a connection a WebSocket.
func upgrade(conn io.ReadWriteCloser, host string, header [][2]string) (*socket, error) {
	nonce := make([]byte, 16)
	_, _ = rand.Read(nonce) // it never fails
	key := base64.StdEncoding.EncodeToString(nonce)
	var b strings.Builder
	b.WriteString("GET / HTTP/1.1\r\nHost: " + host + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + "\r\n")
	for _, h := range header {
		b.WriteString(h[0] + ": " + h[1] + "\r\n")
	}
	b.WriteString("\r\n")
	if _, err := io.WriteString(conn, b.String()); err != nil {
		return nil, err
	}
	s := &socket{conn: conn, in: bufio.NewReaderSize(conn, maxHeader)}
	status, accept, err := s.answer()
	if err != nil {
		return nil, err
	}
	if status != 101 {
		body := make([]byte, maxRefusal)
		n, _ := s.in.Read(body) // what came with the headers is enough to name it
		return nil, &unwelcome{status: status, body: Printable(string(body[:n]))}
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // see above
	if accept != base64.StdEncoding.EncodeToString(sum[:]) {
		return nil, errors.New("what answers is no WebSocket server: its key is wrong")
	}
	return s, nil
}

// answer reads the head of the answer to the upgrade.
func (s *socket) answer() (status int, accept string, err error) {
	for size, first := 0, true; ; first = false {
		line, err := s.in.ReadSlice('\n')
		if err != nil {
			return 0, "", fmt.Errorf("the answer is no HTTP: %w", err)
		}
		if size += len(line); size > maxHeader {
			return 0, "", errors.New("the answer's headers are too long")
		}
		text := strings.TrimSpace(string(line))
		if first {
			fields := strings.Fields(text)
			if len(fields) < 2 || !strings.HasPrefix(fields[0], "HTTP/1.") {
				return 0, "", errors.New("what answers does not speak HTTP")
			}
			if status, err = strconv.Atoi(fields[1]); err != nil {
				return 0, "", errors.New("what answers does not speak HTTP")
			}
			continue
		}
		if text == "" {
			return status, accept, nil
		}
		if name, value, _ := strings.Cut(text, ":"); strings.EqualFold(name, "Sec-WebSocket-Accept") {
			accept = strings.TrimSpace(value)
		}
	}
}

// write sends one message. What a client sends is masked (section 5.3).
func (s *socket) write(op byte, data []byte) error {
	head := []byte{0x80 | op}
	switch n := len(data); {
	case n < 126:
		head = append(head, 0x80|byte(n))
	case n < 1<<16:
		head = binary.BigEndian.AppendUint16(append(head, 0x80|126), uint16(n))
	default:
		head = binary.BigEndian.AppendUint64(append(head, 0x80|127), uint64(n))
	}
	var mask [4]byte
	_, _ = rand.Read(mask[:]) // it never fails
	out := append(head, mask[:]...)
	for i, b := range data {
		out = append(out, b^mask[i%4])
	}
	_, err := s.conn.Write(out)
	return err
}

// read returns the next message, and answers what is asked on the way. The end that the
// other side announces is a *closed.
func (s *socket) read() ([]byte, error) {
	var message []byte
	for begun := false; ; {
		final, op, data, err := s.frame(maxMessage - len(message))
		if err != nil {
			return nil, err
		}
		switch op {
		case opPing:
			if err := s.write(opPong, data); err != nil {
				return nil, err
			}
			continue
		case opPong:
			continue
		case opClose:
			_ = s.write(opClose, data[:min(2, len(data))]) // it goes anyway
			return nil, closing(data)
		case opText, opBinary:
			if begun {
				return nil, errors.New("a message begins within another")
			}
			begun = true
		case opContinue:
			if !begun {
				return nil, errors.New("a message goes on that has not begun")
			}
		default:
			return nil, fmt.Errorf("a frame of the unknown kind %d", op)
		}
		message = append(message, data...)
		if final {
			return message, nil
		}
	}
}

func closing(data []byte) *closed {
	c := &closed{code: 1005} // closed without saying why
	if len(data) >= 2 {
		c.code, c.reason = int(binary.BigEndian.Uint16(data)), Printable(string(data[2:]))
	}
	return c
}

// frame reads one frame of at most limit bytes.
func (s *socket) frame(limit int) (final bool, op byte, data []byte, err error) {
	var head [8]byte
	if _, err := io.ReadFull(s.in, head[:2]); err != nil {
		return false, 0, nil, err
	}
	final, op = head[0]&0x80 != 0, head[0]&0x0F
	if head[0]&0x70 != 0 || head[1]&0x80 != 0 {
		return false, 0, nil, errors.New("a frame that no server may send")
	}
	size := uint64(head[1])
	switch size {
	case 126:
		if _, err := io.ReadFull(s.in, head[:2]); err != nil {
			return false, 0, nil, err
		}
		size = uint64(binary.BigEndian.Uint16(head[:2]))
	case 127:
		if _, err := io.ReadFull(s.in, head[:8]); err != nil {
			return false, 0, nil, err
		}
		size = binary.BigEndian.Uint64(head[:8])
	}
	if op >= opClose && (size > 125 || !final) {
		return false, 0, nil, errors.New("a control frame that is too long or in parts")
	}
	if size > uint64(max(limit, 0)) {
		return false, 0, nil, fmt.Errorf("a message of more than %d bytes", maxMessage)
	}
	data = make([]byte, size)
	_, err = io.ReadFull(s.in, data)
	return final, op, data, err
}

// Printable makes what a server says fit for a line of a message.
func Printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, " "))
	if len(text) > 300 {
		text = strings.ToValidUTF8(text[:300], "") + " …"
	}
	return strings.TrimSpace(text)
}
