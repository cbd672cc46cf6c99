package httpclient

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"strconv"
	"strings"

	"holdfast/tasks/task"
)

const (
	maxHead  = 64 << 10 // of all status lines, headers and trailers together
	maxChunk = 1 << 10  // of one chunk's first line
)

// reader reads one response.
type reader struct {
	r     *bufio.Reader
	head  int   // bytes of lines read so far
	limit int64 // bytes of body that are accepted
	old   bool  // HTTP/1.0
}

// response reads the whole answer to a request with method.
func (r *reader) response(method string) (task.Response, error) {
	resp, content, err := r.begin(method)
	if err == nil {
		resp.Body, err = io.ReadAll(content)
	}
	return resp, err
}

// begin reads the answer up to its content, skipping interim ones (RFC 9110, section 15.2).
func (r *reader) begin(method string) (task.Response, *content, error) {
	for {
		status, err := r.status()
		if err != nil {
			return task.Response{}, nil, err
		}
		header, err := r.fields()
		switch {
		case err != nil:
			return task.Response{}, nil, err
		case status == 101:
			return task.Response{}, nil, errors.New("the server changed to another protocol unasked")
		case status < 200:
			continue
		}
		c := &content{r: r}
		if method != "HEAD" && status != 204 && status != 304 {
			err = c.measure(header)
		}
		return task.Response{Status: status, Header: header}, c, err
	}
}

// status reads a status line (RFC 9112, section 4); the blank before an absent
// reason may be absent too.
func (r *reader) status() (int, error) {
	line, err := r.line()
	if err != nil {
		return 0, err
	}
	version, rest, _ := strings.Cut(line, " ")
	digits, _, _ := strings.Cut(rest, " ")
	n, err := strconv.ParseUint(digits, 10, 16)
	if version != "HTTP/1.1" && version != "HTTP/1.0" || err != nil || len(digits) != 3 || n < 100 || n > 599 {
		return 0, fmt.Errorf("the answer starts with %.80q, which is no status line of HTTP/1.1", line)
	}
	r.old = version == "HTTP/1.0"
	return int(n), nil
}

// fields reads header or trailer fields to the empty line after them (RFC 9112, section 5).
func (r *reader) fields() (map[string][]string, error) {
	fields, last := map[string][]string{}, ""
	for {
		line, err := r.line()
		if err != nil || line == "" {
			return fields, err
		}
		name, value, ok := strings.Cut(line, ":")
		if folded := line[0] == ' ' || line[0] == '\t'; folded && last != "" {
			values := fields[last] // obsolete, but section 5.2 wants one blank for it
			values[len(values)-1] = strings.TrimRight(values[len(values)-1]+" "+strings.Trim(line, " \t"), " ")
			continue
		}
		if !ok || !token(name) {
			return nil, fmt.Errorf("the answer has a malformed header: %.80q", line)
		}
		last = textproto.CanonicalMIMEHeaderKey(name)
		fields[last] = append(fields[last], strings.Trim(value, " \t"))
	}
}

// line reads a line of the head, which ends with CR LF or LF (RFC 9112, section 2.2).
func (r *reader) line() (string, error) {
	line, err := r.until(maxHead - r.head)
	if err != nil {
		return "", err
	}
	r.head += len(line)
	line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
	if !printable(string(line)) {
		return "", errors.New("the head of the answer holds control characters")
	}
	return string(line), nil
}

// until reads to the end of a line, which must be within limit bytes.
func (r *reader) until(limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > limit:
			return nil, errors.New("the head of the answer, or of a chunk in it, is too long")
		case err == nil:
			return line, nil
		case errors.Is(err, io.EOF):
			return nil, fmt.Errorf("the connection ended before the answer did: %w", io.ErrUnexpectedEOF)
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, fmt.Errorf("cannot read the answer: %w", err)
		}
	}
}

// token reports whether s is a token (RFC 9110, section 5.6.2).
func token(s string) bool {
	return s != "" && strings.IndexFunc(s, func(c rune) bool {
		return c <= ' ' || c >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c)
	}) < 0
}

// printable reports whether s has no control characters but tabs, which is all
// that a field may hold (RFC 9110, section 5.5).
func printable(s string) bool {
	return strings.IndexFunc(s, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) < 0
}
