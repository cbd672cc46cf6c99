package host

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/runner/host/httpclient"
	"holdfast/tasks/task"
)

// silence is how long a server may send nothing before another try.
const silence = time.Minute

// Download writes what a server sends to a file.
func (w *writer) Download(ctx context.Context, d task.Download) error {
	in := &incoming{ctx: ctx, d: d, say: w.Progress, sum: d.Sum.Hash(), total: -1}
	f := fileWrite{path: d.Path, digest: d.Sum.SHA256(), mode: d.Mode, secret: w.s.Hidden, large: true}
	f.open = func() (io.ReadCloser, error) { return in, in.fits(d.Path) }
	var err error
	if f.uid, f.gid, err = w.owners(d.Owner, d.Group); err == nil {
		err = w.writeFile(ctx, f)
	}
	if err != nil {
		return fmt.Errorf("cannot download %s: %w", d.Path, err)
	}
	return nil
}

// incoming is what a server sends. It asks again for the rest when the connection
// breaks, and ends well only with the right checksum.
type incoming struct {
	ctx    context.Context
	d      task.Download
	say    func(string)
	sum    hash.Hash
	answer *httpclient.Answer
	at     int64
	total  int64 // -1: not known
	etag   string
	tries  int64
	said   time.Time
}

// Read implements [io.Reader].
func (i *incoming) Read(p []byte) (int, error) {
	for {
		n, err := i.some(p)
		switch {
		case n > 0:
			i.sum.Write(p[:n])
			i.at += int64(n)
			i.report()
			return n, nil
		case err == nil:
		case errors.Is(err, io.EOF):
			return 0, i.whole()
		default:
			if err = i.again(err); err != nil {
				return 0, err
			}
		}
	}
}

func (i *incoming) some(p []byte) (int, error) {
	if i.answer == nil {
		if err := i.ask(); err != nil {
			return 0, err
		}
	}
	n, err := i.answer.Read(p)
	if n > 0 {
		return n, nil
	}
	return 0, err
}

// final is a failure that another try would not mend.
type final struct{ error }

// ask makes the request, for the rest when a part is here.
func (i *incoming) ask() error {
	i.tries++
	req := i.d.Request
	if i.at > 0 {
		req.Header = map[string]string{"Range": fmt.Sprintf("bytes=%d-", i.at)}
		for k, v := range i.d.Request.Header {
			req.Header[k] = v
		}
		if i.etag != "" {
			req.Header["If-Range"] = i.etag // RFC 9110, section 13.1.5
		}
	}
	a, err := httpclient.Open(i.ctx, req, silence)
	if err != nil {
		return err
	}
	i.answer = a
	switch {
	case a.Status == 206 && i.at > 0 && i.continues(a):
	case a.Status == 200:
		i.begin(a)
		if _, err := io.CopyN(io.Discard, a, i.at); err != nil { // the part that is here already
			return fmt.Errorf("cannot go on: %w", err)
		}
	case a.Status == 408 || a.Status == 429 || a.Status >= 500:
		return fmt.Errorf("%s answers with status %d", i.d.Request.URL, a.Status)
	default:
		return final{fmt.Errorf("%s answers with status %d", i.d.Request.URL, a.Status)}
	}
	return nil
}

// continues reports whether a partial answer begins where we are (RFC 9110, section 14.4).
func (i *incoming) continues(a *httpclient.Answer) bool {
	return strings.HasPrefix(first(a.Header["Content-Range"]), fmt.Sprintf("bytes %d-", i.at))
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

func (i *incoming) begin(a *httpclient.Answer) {
	if n, err := strconv.ParseInt(first(a.Header["Content-Length"]), 10, 64); err == nil {
		i.total = n
	}
	if tag := first(a.Header["Etag"]); strings.HasPrefix(tag, `"`) {
		i.etag = tag // a weak one does not promise the same bytes
	}
}

// again decides about a failure: nil means another try, after a while.
func (i *incoming) again(err error) error {
	if i.answer != nil {
		_ = i.answer.Close()
		i.answer = nil
	}
	var fin final
	if errors.As(err, &fin) || i.tries >= i.d.Tries || i.ctx.Err() != nil || strings.Contains(err.Error(), "is larger than") {
		if i.tries > 1 {
			return fmt.Errorf("after %d tries and %d bytes: %w", i.tries, i.at, err)
		}
		return err
	}
	i.say(fmt.Sprintf("cut off after %d bytes, trying again: %v", i.at, err))
	pause := time.NewTimer(min(time.Second<<(i.tries-1), 30*time.Second))
	defer pause.Stop()
	select {
	case <-i.ctx.Done():
		return context.Cause(i.ctx)
	case <-pause.C:
		return nil
	}
}

// whole says whether what has come is what was meant.
func (i *incoming) whole() error {
	if got, ok := i.d.Sum.Holds(i.sum); !ok {
		return fmt.Errorf("%s sent something else: %d bytes with %s, want %s", i.d.Request.URL, i.at, got, i.d.Sum)
	}
	return io.EOF
}

func (i *incoming) report() {
	if time.Since(i.said) < 2*time.Second {
		return
	}
	i.said = time.Now()
	text := fmt.Sprintf("%.1f MB", float64(i.at)/1e6)
	if i.total > 0 {
		text += fmt.Sprintf(" of %.1f MB", float64(i.total)/1e6)
	}
	i.say(text)
}

// fits asks for the answer and fails when the file system has no room for it, before
// anything is written there.
func (i *incoming) fits(name string) error {
	for i.answer == nil {
		if err := i.ask(); err != nil {
			if err = i.again(err); err != nil {
				return err
			}
		}
	}
	return room(name, i.total)
}

// Close ends the connection.
func (i *incoming) Close() error {
	if i.answer == nil {
		return nil
	}
	return i.answer.Close()
}

// spare is what must be left on a file system by what we unpack or download.
const spare = 16 << 20

// room fails when the file system of a path has less than n bytes for us.
func room(name string, n int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(path.Dir(name), &st); err != nil || n <= 0 {
		return nil // writing will tell
	}
	if free := int64(st.Bavail) * st.Bsize; n > free-spare {
		return fmt.Errorf("it takes %d bytes and the file system of %s has %d left", n, path.Dir(name), max(0, free))
	}
	return nil
}
