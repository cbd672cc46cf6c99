package httpclient_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"strings"
	"testing"

	"holdfast/runner/host/httpclient"
)

const ok = "HTTP/1.1 200 OK\r\n"

func TestRead(t *testing.T) {
	for name, tt := range map[string]struct{ in, header, body string }{
		"length":             {ok + "Content-Length: 3\r\n\r\nabcdef", "map[Content-Length:[3]]", "abc"},
		"length twice":       {ok + "Content-Length: 3, 3\r\ncontent-length:3\r\n\r\nabcdef", "map[Content-Length:[3, 3 3]]", "abc"},
		"until the end":      {"HTTP/1.0 200\r\n\r\nabc", "map[]", "abc"},
		"bare line feeds":    {"HTTP/1.1 200 OK\nA: b\n\nabc", "map[A:[b]]", "abc"},
		"chunks":             {ok + "transfer-encoding: Chunked\r\n\r\n2;x=\"y\"\r\nab\r\n01 \r\nc\r\n0\r\nT: x\r\n\r\nrest", "map[Transfer-Encoding:[Chunked]]", "abc"},
		"folded":             {ok + "A:  b \r\n\t c\r\n  \r\nB:\r\n\r\n", "map[A:[b c] B:[]]", ""},
		"the same name":      {ok + "set-cookie: a\r\nSET-COOKIE: b\r\n\r\n", "map[Set-Cookie:[a b]]", ""},
		"not UTF-8":          {ok + "A: \xe4\r\n\r\n", "map[A:[\xe4]]", ""},
		"interim":            {"HTTP/1.1 100 Continue\r\nX: y\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + ok + "\r\nabc", "map[]", "abc"},
		"no body after 204":  {"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc", "map[Content-Length:[3]]", ""},
		"a long line":        {ok + "A: " + strings.Repeat("b", 60000) + "\r\n\r\n", "map[A:[" + strings.Repeat("b", 60000) + "]]", ""},
		"exactly the limit":  {ok + "\r\n" + strings.Repeat("x", limit), "map[]", strings.Repeat("x", limit)},
		"chunks of the same": {ok + "Transfer-Encoding: chunked\r\n\r\n64\r\n" + strings.Repeat("x", limit) + "\r\n0\r\n\r\n", "map[Transfer-Encoding:[chunked]]", strings.Repeat("x", limit)},
	} {
		resp, err := httpclient.Read(strings.NewReader(tt.in), "GET", limit)
		if got := fmt.Sprint(resp.Header); err != nil || got != tt.header || string(resp.Body) != tt.body {
			t.Errorf("%s: got %s and %q (%v), want %s and %q", name, got, resp.Body, err, tt.header, tt.body)
		}
	}
}

const limit = 100

func TestReadRefuses(t *testing.T) {
	const chunked = ok + "Transfer-Encoding: chunked\r\n\r\n"
	for want, answers := range map[string][]string{
		"status line": {
			"HTTP/1.1 abc\r\n\r\n", "HTTP/2 200\r\n\r\n", "HTTP/1.1 99 x\r\n\r\n", "HTTP/1.1 0200 x\r\n\r\n", "HTTP/1.1  200 x\r\n\r\n", "HTTP/1.1 600 x\r\n\r\n",
			"HTTP/1.1 -10 x\r\n\r\n", "SSH-2.0-OpenSSH\r\n", "\r\n" + ok + "\r\n", "http/1.1 200 OK\r\n\r\n", "<html>\n" + strings.Repeat("x", 9),
		},
		"malformed header": {ok + "A b\r\n\r\n", ok + " A: b\r\n\r\n", ok + "A : b\r\n\r\n", ok + ": b\r\n\r\n", ok + "A\u00e4: b\r\n\r\n"},
		"control char":     {ok + "A: b\rC: d\r\n\r\n", ok + "A: \x00\r\n\r\n", "HTTP/1.1 200 \x1b[2J\r\n\r\n", chunked + "0\r\nA: \x00\r\n\r\n"},
		"too long":         {ok + "A: " + strings.Repeat("b", 65<<10), ok + strings.Repeat("A: b\r\n", 20000), strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 5000), chunked + strings.Repeat("0", 2000), chunked + "0\r\n" + strings.Repeat("A: b\r\n", 20000)},
		"ended before":     {"", ok, ok + "A: b\r\n", ok + "Content-Length: 4\r\n\r\nabc", chunked, chunked + "4\r\nabc", chunked + "3\r\nabc\r\n", chunked + "0\r\n", "HTTP/1.1 100 Continue\r\n\r\n"},
		"the length":       {ok + "Content-Length: -1\r\n\r\n", ok + "Content-Length: +1\r\n\r\nx", ok + "Content-Length: 1, 2\r\n\r\nxx", ok + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", ok + "Content-Length:\r\n\r\n", ok + "Content-Length: 99999999999999999999\r\n\r\n", ok + "Content-Length: " + strings.Repeat("1,2,", 9999) + "\r\n\r\n"},
		"malformed chunk":  {chunked + "x\r\n", chunked + "-1\r\n", chunked + "\r\n", chunked + "1\nx\n0\n\n", chunked + "1\r\nxy\r\n0\r\n\r\n", chunked + "0x1\r\nx\r\n0\r\n\r\n", chunked + "ffffffffffffffff\r\n"},
		"transfer coding":  {ok + "Transfer-Encoding: gzip, chunked\r\n\r\n", ok + "Transfer-Encoding: identity\r\n\r\n", ok + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", ok + "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n1\r\nx\r\n0\r\n\r\n"},
		"larger than 100":  {ok + "Content-Length: 101\r\n\r\n", ok + "\r\n" + strings.Repeat("x", limit+1), chunked + "7fffffffffffffff\r\nx", chunked + strings.Repeat("33\r\n"+strings.Repeat("x", 0x33)+"\r\n", 2)},
		"in HTTP/1.0":      {"HTTP/1.0 200 \r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		"unasked":          {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"},
	} {
		for _, in := range answers {
			_, err := httpclient.Read(strings.NewReader(in), "GET", limit)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%.80q: got the error %v, want %q in it", in, err, want)
			}
			if err != nil && len(err.Error()) > 500 {
				t.Errorf("%.80q: the error has %d bytes", in, len(err.Error()))
			}
		}
	}
}

// FuzzRead wants answers within their bounds, and what net/http makes of the
// same bytes wherever both accept them.
func FuzzRead(f *testing.F) {
	for _, s := range []string{
		ok + "Content-Length: 3\r\n\r\nabc", ok + "Transfer-Encoding: chunked\r\n\r\n2;x\r\nab\r\n0\r\nT: x\r\n\r\n", "HTTP/1.0 404\n\nx",
		"HTTP/1.1 100 Continue\r\n\r\n" + ok + "A: b\r\n c\r\n\r\n", "HTTP/1.1 304 Not Modified\r\nContent-Length: 1, 1\r\n\r\n",
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, in []byte, head bool) {
		method := map[bool]string{true: "HEAD", false: "GET"}[head]
		got, err := httpclient.Read(bytes.NewReader(in), method, limit)
		if err != nil {
			return
		}
		if got.Status < 200 || got.Status > 599 || len(got.Body) > limit || head && len(got.Body) > 0 {
			t.Errorf("status %d and %d bytes of body", got.Status, len(got.Body))
		}
		for name := range maps.Keys(got.Header) {
			if textproto.CanonicalMIMEHeaderKey(name) != name || strings.ContainsAny(name+strings.Join(got.Header[name], ""), "\r\n\x00") {
				t.Errorf("header %q: %q", name, got.Header[name])
			}
		}
		std, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(in)), &http.Request{Method: method})
		if err != nil || std.StatusCode < 200 {
			return
		}
		defer std.Body.Close() //nolint:errcheck // a test's
		body, err := io.ReadAll(std.Body)
		if err == nil && (std.StatusCode != got.Status || !bytes.Equal(body, got.Body)) {
			t.Errorf("got %d and %q, net/http has %d and %q", got.Status, got.Body, std.StatusCode, body)
		}
	})
}
