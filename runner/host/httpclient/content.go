package httpclient

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

var errMalformed = errors.New("the answer has a malformed chunk")

// content reads the content of one response as it arrives.
type content struct {
	r       *reader
	left    int64 // of the content, or of the chunk; -1: until the connection ends
	chunked bool
	inside  bool // of a chunk
	got     int64
}

// measure learns the length that the header tells (RFC 9112, section 6.3).
func (c *content) measure(header map[string][]string) error {
	lengths, codings := header["Content-Length"], header["Transfer-Encoding"]
	if len(codings) > 0 {
		if len(codings) > 1 || !strings.EqualFold(codings[0], "chunked") {
			return fmt.Errorf("the answer has the transfer coding %.80q, want chunked", strings.Join(codings, ", "))
		}
		if len(lengths) > 0 || c.r.old {
			return errors.New("the answer has a transfer coding beside a length or in HTTP/1.0") // section 6.1 suspects an attack
		}
		c.chunked = true
		return nil
	}
	c.left = -1
	if len(lengths) == 0 {
		return nil
	}
	all := strings.Join(lengths, ",")
	lengths = strings.Split(all, ",") // the same one may come twice
	for i := range lengths {
		lengths[i] = strings.Trim(lengths[i], " \t")
	}
	n, err := strconv.ParseUint(lengths[0], 10, 63)
	if err != nil || len(slices.Compact(lengths)) != 1 {
		return fmt.Errorf("the answer has the length %.80q", all)
	}
	c.left = int64(n)
	return c.room(c.left)
}

// room fails when n more bytes are too many.
func (c *content) room(n int64) error {
	if n > c.r.limit-c.got {
		return fmt.Errorf("the answer is larger than %d bytes", c.r.limit)
	}
	return nil
}

// Read implements [io.Reader]. What ends early is an error, never an end.
func (c *content) Read(p []byte) (int, error) {
	if c.left == 0 && c.chunked {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	if c.left == 0 {
		return 0, io.EOF
	}
	if c.left > 0 && int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.r.r.Read(p)
	if c.left > 0 {
		c.left -= int64(n)
	}
	switch {
	case c.room(int64(n)) != nil:
		return 0, c.room(int64(n))
	case n > 0:
		c.got += int64(n)
		return n, nil
	case !errors.Is(err, io.EOF):
		return 0, cannotRead(err)
	case c.left < 0:
		return 0, io.EOF
	}
	return 0, fmt.Errorf("the connection ended before the answer did: %w", io.ErrUnexpectedEOF)
}

func cannotRead(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cannot read the answer: %w", err)
}

// next goes to the next chunk. After the last one come trailers, which are checked
// and dropped (RFC 9112, section 7.1).
func (c *content) next() error {
	if c.inside {
		line, err := c.r.until(maxChunk)
		if err != nil {
			return err
		}
		if string(line) != "\r\n" {
			return errMalformed
		}
		c.inside = false
	}
	line, err := c.r.until(maxChunk)
	if err != nil {
		return err
	}
	size, _, _ := strings.Cut(string(line), ";") // no extension is known here
	n, err := strconv.ParseUint(strings.Trim(strings.TrimSuffix(size, "\r\n"), " \t"), 16, 63)
	if err != nil || !bytes.HasSuffix(line, []byte("\r\n")) {
		return errMalformed
	}
	if n == 0 {
		c.chunked = false
		_, err := c.r.fields()
		return err
	}
	c.left, c.inside = int64(n), true
	return c.room(c.left)
}
