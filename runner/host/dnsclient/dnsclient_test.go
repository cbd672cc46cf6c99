package dnsclient_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"holdfast/runner/host/dnsclient"
	"holdfast/tasks/task"
)

// server answers each question with what answer makes of it, over UDP and TCP on one port.
func server(t *testing.T, answer func(q []byte, tcp bool) []byte) string {
	t.Helper()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", udp.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = udp.Close(); _ = tcp.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = udp.WriteTo([]byte("stray"), from)
			_, _ = udp.WriteTo(answer(append([]byte{}, buf[:n]...), false), from)
		}
	}()
	go func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			size := make([]byte, 2)
			if _, err := io.ReadFull(c, size); err == nil {
				q := make([]byte, binary.BigEndian.Uint16(size))
				_, _ = io.ReadFull(c, q)
				out := answer(q, true)
				_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...))
			}
			_ = c.Close()
		}
	}()
	return udp.LocalAddr().String()
}

// reply makes an answer with records whose names point to the question.
func reply(q []byte, code byte, cut bool, kind uint16, values ...string) []byte {
	out := append([]byte{}, q[:len(q)-11]...)
	out[2] |= 0x80
	if cut {
		out[2] |= 2
	}
	out[3] = code
	out[7], out[11] = byte(len(values)), 0
	for _, v := range values {
		out = append(out, 0xc0, 12)
		out = binary.BigEndian.AppendUint16(out, kind)
		out = append(out, 0, 1, 0, 0, 0, 60)
		out = append(binary.BigEndian.AppendUint16(out, uint16(len(v))), v...)
	}
	return out
}

func TestAsk(t *testing.T) {
	for name, tt := range map[string]struct {
		kind   string
		number uint16
		values []string
		want   string
	}{
		"addresses": {"A", 1, []string{"\xc0\x00\x02\x02", "\xc0\x00\x02\x01"}, "[192.0.2.1 192.0.2.2]"},
		"v6":        {"AAAA", 28, []string{"\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x01"}, "[2001:db8::1]"},
		"mail":      {"MX", 15, []string{"\x00\x0a\x04Mail\xc0\x0c"}, "[10 mail.x.example]"},
		"service":   {"SRV", 33, []string{"\x00\x01\x00\x02\x13\xc4\x03sip\x00"}, "[1 2 5060 sip]"},
		"text":      {"TXT", 16, []string{"\x05hello\x06 world", "\x00"}, "[ hello world]"},
		"caa":       {"CAA", 257, []string{"\x00\x05issueca.example"}, `[0 issue "ca.example"]`},
		"alias":     {"CNAME", 5, []string{"\x01a\x00"}, "[a]"},
		"start":     {"SOA", 6, []string{"\x02ns\x00\x02me\x00" + "\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x03\x00\x00\x00\x04\x00\x00\x00\x05"}, "[ns me 1 2 3 4 5]"},
		"others":    {"A", 5, []string{"\x01a\x00"}, "[]"},
	} {
		addr := server(t, func(q []byte, _ bool) []byte { return reply(q, 0, false, tt.number, tt.values...) })
		got, err := dnsclient.Ask(context.Background(), task.Question{Name: "x.example.", Type: tt.kind, Server: addr})
		if err != nil || fmt.Sprint(got.Values) != tt.want || got.Code != "NOERROR" || got.Server != addr {
			t.Errorf("%s: got %+v (%v), want %s", name, got, err, tt.want)
		}
	}
}

func TestCutAnswersAreFetchedOverTCP(t *testing.T) {
	addr := server(t, func(q []byte, tcp bool) []byte {
		if tcp {
			return reply(q, 0, false, 1, "\x01\x02\x03\x04")
		}
		return reply(q, 0, true, 1)
	})
	got, err := dnsclient.Ask(context.Background(), task.Question{Name: "x", Type: "A", Server: addr})
	if err != nil || fmt.Sprint(got.Values) != "[1.2.3.4]" {
		t.Errorf("got %+v (%v)", got, err)
	}
	if got, err = dnsclient.Ask(context.Background(), task.Question{Name: "x", Type: "A", Server: addr, TCP: true}); err != nil || len(got.Values) != 1 {
		t.Errorf("over TCP: got %+v (%v)", got, err)
	}
}

func TestCodes(t *testing.T) {
	for code, want := range map[byte]string{2: "SERVFAIL", 3: "NXDOMAIN", 5: "REFUSED", 9: "RCODE9"} {
		addr := server(t, func(q []byte, _ bool) []byte { return reply(q, code, false, 1) })
		got, err := dnsclient.Ask(context.Background(), task.Question{Name: "x", Type: "A", Server: addr})
		if err != nil || got.Code != want {
			t.Errorf("code %d: got %+v (%v), want %s", code, got, err, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	for name, tt := range map[string]struct {
		answer func(q []byte) []byte
		want   string
	}{
		"loop":             {func(q []byte) []byte { return reply(q, 0, false, 5, "\xc0\x28") }, "malformed"},
		"cut record":       {func(q []byte) []byte { return reply(q, 0, false, 1, "\x01\x02\x03\x04")[:len(q)-11+14] }, "malformed"},
		"short address":    {func(q []byte) []byte { return reply(q, 0, false, 1, "\x01") }, "malformed"},
		"another question": {func(q []byte) []byte { a := reply(q, 0, false, 1); a[13] = 'y'; return a }, "to another question"},
		"a question":       {func(q []byte) []byte { return q }, "malformed"},
	} {
		addr := server(t, func(q []byte, _ bool) []byte { return tt.answer(q) })
		_, err := dnsclient.Ask(context.Background(), task.Question{Name: "x", Type: "A", Server: addr})
		if k := "CNAME"; name == "loop" {
			_, err = dnsclient.Ask(context.Background(), task.Question{Name: "x", Type: k, Server: addr})
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
	for q, want := range map[task.Question]string{
		{Name: "x..y", Type: "A", Server: "127.0.0.1"}:                    "is no name",
		{Name: strings.Repeat("a.", 130), Type: "A", Server: "127.0.0.1"}: "longer than 253",
		{Name: "x", Type: "HINFO", Server: "127.0.0.1"}:                   "no type",
		{Name: "x", Type: "A", Server: "dns.example"}:                     "is no server",
	} {
		if _, err := dnsclient.Ask(context.Background(), q); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q", q, err, want)
		}
	}
}
