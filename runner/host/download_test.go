package host_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"holdfast/runner/host"
	"holdfast/tasks/task"
)

// flaky serves text and cuts connections off after some bytes, the first few times.
type flaky struct {
	text  string
	cuts  []int // after how many bytes each answer ends
	plain bool  // knows no ranges
	asked atomic.Int32
	heard []string
}

func (f *flaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := int(f.asked.Add(1)) - 1
	f.heard = append(f.heard, r.Header.Get("Range"))
	from := 0
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil && !f.plain {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(f.text)-1, len(f.text)))
	} else {
		from = 0
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(f.text)-from))
	w.Header().Set("ETag", `"one"`)
	if from > 0 {
		w.WriteHeader(http.StatusPartialContent)
	}
	body := f.text[from:]
	if n < len(f.cuts) {
		_, _ = w.Write([]byte(body[:f.cuts[n]]))
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write([]byte(body))
}

func (b *bench) download(url, text string, tries, limit int64) error {
	return b.writer().Download(ctx, task.Download{
		Path: b.path("file"), Sum: task.Sum("sha256:" + task.DigestOf([]byte(text))), Tries: tries,
		Request: task.Request{URL: url, MaxBody: limit},
	})
}

func TestDownloadGoesOnWhereItWasCutOff(t *testing.T) {
	for _, plain := range []bool{false, true} {
		b := newBench(t)
		f := &flaky{text: strings.Repeat("0123456789", 10_000), cuts: []int{50_000, 1}, plain: plain}
		srv := httptest.NewServer(f)
		defer srv.Close()
		b.must(b.download(srv.URL, f.text, 5, 1<<20))
		if got, _ := os.ReadFile(b.path("file")); string(got) != f.text {
			t.Errorf("ranges %t: got %d bytes, want %d", !plain, len(got), len(f.text))
		}
		if len(f.heard) != 3 || f.heard[0] != "" || !strings.HasPrefix(f.heard[1], "bytes=") {
			t.Errorf("ranges %t: asked for %q", !plain, f.heard)
		}
	}
}

func TestDownloadRefuses(t *testing.T) {
	text := strings.Repeat("x", 1000)
	for name, tt := range map[string]struct {
		serve http.Handler
		want  string
		tries int64
		limit int64
	}{
		"other content":     {&flaky{text: strings.Repeat("y", 1000)}, "sent something else: 1000 bytes with sha256:", 3, 0},
		"too large":         {&flaky{text: text}, "larger than 999 bytes", 3, 999},
		"not there":         {http.NotFoundHandler(), "status 404", 3, 0},
		"cut off too often": {&flaky{text: text, cuts: []int{10, 10, 10}}, "after 2 tries and 20 bytes: the connection ended", 2, 0},
		"broken":            {http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }), "after 2 tries and 0 bytes", 2, 0},
	} {
		b := newBench(t)
		b.put("file", "former\n")
		before := b.state()
		srv := httptest.NewServer(tt.serve)
		err := b.download(srv.URL, text, tt.tries, tt.limit)
		srv.Close()
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
		if after := b.state(); after != before {
			t.Errorf("%s: a refused download left\n%s", name, after)
		}
	}
}

func TestDownloadIsTakenBack(t *testing.T) {
	b := newBench(t)
	b.put("file", "former\n")
	before := b.state()
	f := &flaky{text: "new\n"}
	srv := httptest.NewServer(f)
	defer srv.Close()
	b.must(b.download(srv.URL, f.text, 1, 0))
	w := b.writer()
	sum, err := task.ParseSum("sha512-" + "z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==") // of nothing
	b.must(err)
	empty := httptest.NewServer(&flaky{})
	defer empty.Close()
	b.must(w.Download(ctx, task.Download{Path: b.path("file"), Sum: sum, Tries: 1, Request: task.Request{URL: empty.URL}}))
	if got, _ := os.ReadFile(b.path("file")); len(got) != 0 {
		t.Errorf("got %q, want the file of the second download", got)
	}
	b.undo(host.UndoOptions{})
	if after := b.state(); after != before {
		t.Errorf("taken back, there is\n%s\nwant\n%s", after, before)
	}
}
