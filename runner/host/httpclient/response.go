package httpclient

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"holdfast/tasks/task"
)

const (
	maxHead  = 64 << 10 // of all status lines, headers and trailers together
	maxChunk = 1 << 10  // of one chunk's first line
)

var errMalformed = errors.New("the answer has a malformed chunk")

// reader reads one response.
type reader struct {
	r     *bufio.Reader
	head  int   // bytes of lines read so far
	limit int64 // bytes of body that are accepted
	old   bool  // HTTP/1.0
}

// response reads the answer to a request with method, skipping interim ones
// (RFC 9110, section 15.2).
func (r *reader) response(method string) (task.Response, error) {
	for {
		status, err := r.status()
		if err != nil {
			return task.Response{}, err
		}
		header, err := r.fields()
		switch {
		case err != nil:
			return task.Response{}, err
		case status == 101:
			return task.Response{}, errors.New("the server changed to another protocol unasked")
		case status < 200:
			continue
		}
		resp := task.Response{Status: status, Header: header}
		if method != "HEAD" && status != 204 && status != 304 {
			resp.Body, err = r.body(header)
		}
		return resp, err
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

// body reads a body of the length that the header tells (RFC 9112, section 6.3).
func (r *reader) body(header map[string][]string) ([]byte, error) {
	lengths, codings := header["Content-Length"], header["Transfer-Encoding"]
	if len(codings) > 0 {
		if len(codings) > 1 || !strings.EqualFold(codings[0], "chunked") {
			return nil, fmt.Errorf("the answer has the transfer coding %.80q, want chunked", strings.Join(codings, ", "))
		}
		if len(lengths) > 0 || r.old {
			return nil, errors.New("the answer has a transfer coding beside a length or in HTTP/1.0") // section 6.1 suspects an attack
		}
		return r.chunks()
	}
	var b bytes.Buffer
	if len(lengths) == 0 {
		err := r.copy(&b, -1)
		return b.Bytes(), err
	}
	all := strings.Join(lengths, ",")
	lengths = strings.Split(all, ",") // the same one may come twice
	for i := range lengths {
		lengths[i] = strings.Trim(lengths[i], " \t")
	}
	n, err := strconv.ParseUint(lengths[0], 10, 63)
	if err != nil || len(slices.Compact(lengths)) != 1 {
		return nil, fmt.Errorf("the answer has the length %.80q", all)
	}
	err = r.copy(&b, int64(n))
	return b.Bytes(), err
}

// copy appends n bytes to b, or all that is left for -1.
func (r *reader) copy(b *bytes.Buffer, n int64) error {
	room := r.limit - int64(b.Len())
	want := n
	if n < 0 {
		want = room + 1
	}
	var got int64
	var err error
	if n <= room {
		got, err = io.CopyN(b, r.r, want)
	}
	switch {
	case n > room || got > room:
		return fmt.Errorf("the answer is larger than %d bytes", r.limit)
	case n < 0 && errors.Is(err, io.EOF):
		return nil
	case errors.Is(err, io.EOF):
		return fmt.Errorf("the connection ended before the answer did: %w", io.ErrUnexpectedEOF)
	case err != nil:
		return fmt.Errorf("cannot read the answer: %w", err)
	}
	return nil
}

// chunks reads a chunked body and the trailers after it, which are checked and
// dropped (RFC 9112, section 7.1).
func (r *reader) chunks() ([]byte, error) {
	var b bytes.Buffer
	for {
		line, err := r.until(maxChunk)
		if err != nil {
			return nil, err
		}
		size, _, _ := strings.Cut(string(line), ";") // no extension is known here
		n, err := strconv.ParseUint(strings.Trim(strings.TrimSuffix(size, "\r\n"), " \t"), 16, 63)
		if err != nil || !bytes.HasSuffix(line, []byte("\r\n")) {
			return nil, errMalformed
		}
		if n == 0 {
			_, err := r.fields()
			return b.Bytes(), err
		}
		if err := r.copy(&b, int64(n)); err != nil {
			return nil, err
		}
		if line, err = r.until(maxChunk); err != nil {
			return nil, err
		}
		if string(line) != "\r\n" {
			return nil, errMalformed
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
