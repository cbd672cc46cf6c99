package host_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"holdfast/runner/host"
	"holdfast/tasks/task"
)

// entry is one entry of an archive that a test makes.
type entry struct {
	name, text, link string
	kind             byte
	mode             int64
}

func tarOf(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Linkname: e.link, Typeflag: e.kind, Mode: e.mode, Size: int64(len(e.text))}
		if e.kind == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func gzipped(data []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(data)
	_ = w.Close()
	return out.Bytes()
}

func zipOf(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		h.SetMode(os.FileMode(e.mode))
		text := e.text
		if e.kind == tar.TypeSymlink {
			h.SetMode(os.ModeSymlink | 0o777)
			text = e.link
		}
		f, err := w.CreateHeader(h)
		if err == nil {
			_, err = f.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func (b *bench) unpack(data []byte, format string, change func(*task.Unpack)) error {
	b.t.Helper()
	archive := b.t.TempDir() + "/archive"
	if err := os.WriteFile(archive, data, 0o644); err != nil {
		b.t.Fatal(err)
	}
	u := task.Unpack{Dir: b.path("out"), Mode: 0o755, MaxSize: 1 << 20, MaxFiles: 100, Parts: []task.Part{{Archive: archive, Format: format}}}
	if change != nil {
		change(&u)
	}
	return b.writer().Unpack(ctx, u)
}

func TestUnpackFormats(t *testing.T) {
	entries := []entry{
		{name: "a/", kind: tar.TypeDir, mode: 0o700}, {name: "a/b/tool", text: "tool\n", mode: 0o6777},
		{name: "a/link", link: "b/tool", kind: tar.TypeSymlink}, {name: "./top", text: "top\n", mode: 0o644},
	}
	plain := tarOf(t, append(entries, entry{name: "a/hard", link: "a/b/tool", kind: tar.TypeLink})...)
	xz := exec.Command("xz", "-c")
	xz.Stdin = bytes.NewReader(plain)
	packed, err := xz.Output()
	if err != nil {
		t.Fatal(err)
	}
	for format, data := range map[string][]byte{"tar": plain, "tar.gz": gzipped(plain), "tar.xz": packed, "zip": zipOf(t, entries...)} {
		b := newBench(t)
		b.must(b.unpack(data, format, nil))
		if got, err := os.ReadFile(b.path("out/a/link")); err != nil || string(got) != "tool\n" {
			t.Errorf("%s: got %q (%v)", format, got, err)
		}
		st, err := os.Stat(b.path("out/a/b/tool"))
		if err != nil || st.Mode() != 0o755 {
			t.Errorf("%s: got %v (%v), want mode 0755: no setuid, nothing for others to write", format, st.Mode(), err)
		}
	}
}

func TestUnpackRefuses(t *testing.T) {
	file := func(name string) entry { return entry{name: name, text: "x", mode: 0o644} }
	link := func(name, to string) entry { return entry{name: name, link: to, kind: tar.TypeSymlink} }
	for name, tt := range map[string]struct {
		data []byte
		want string
	}{
		"up":                      {tarOf(t, file("a/../../x")), "leads out of the directory"},
		"absolute":                {tarOf(t, file("/etc/x")), "no relative path"},
		"a link up":               {tarOf(t, link("l", "../x")), "leads out of the directory"},
		"an absolute link":        {tarOf(t, link("l", "/etc")), "leads out of the directory"},
		"through a link":          {tarOf(t, link("l", "."), file("l/x")), "behind the link l"},
		"a chain of links":        {tarOf(t, entry{name: "d/e/", kind: tar.TypeDir}, link("d/e/f", "../.."), link("l", "d/e/f/../x")), "up after it went down"},
		"a second name outside":   {tarOf(t, entry{name: "h", link: "../../etc/passwd", kind: tar.TypeLink}), "leads out of the directory"},
		"a second name of none":   {tarOf(t, entry{name: "h", link: "nothing", kind: tar.TypeLink}), "no file of it"},
		"a second name of a link": {tarOf(t, link("l", "x"), entry{name: "h", link: "l", kind: tar.TypeLink}), "no file of it"},
		"a device":                {tarOf(t, entry{name: "null", kind: tar.TypeChar}), "neither a file"},
		"a file as a folder":      {tarOf(t, file("f"), file("f/x")), "no folder"},
		"too much":                {tarOf(t, entry{name: "big", text: strings.Repeat("x", 2<<20), mode: 0o644}), "larger than"},
		"too many":                {tarOf(t, make101()...), "more files than allowed"},
		"not an archive":          {[]byte(strings.Repeat("hello\n", 1000)), "cannot read the archive"},
		"cut off":                 {tarOf(t, file("a"), file("b"))[:1000], "cannot read the archive"},
	} {
		b := newBench(t)
		before := b.state()
		err := b.unpack(tt.data, "tar", func(u *task.Unpack) { u.Parts[0].Sum = "" })
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
		if after := b.state(); after != before {
			t.Errorf("%s: what was refused left\n%s", name, after)
		}
	}
	b := newBench(t)
	for format, want := range map[string]string{"zip": "cannot read the archive", "tar.gz": "cannot decompress", "tar.xz": "cannot", "rar": "no format"} {
		if err := b.unpack([]byte("nonsense"), format, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", format, err, want)
		}
	}
	if err := b.unpack(zipOf(t, entry{name: "../x", text: "x", mode: 0o644}), "zip", nil); err == nil || !strings.Contains(err.Error(), "leads out") {
		t.Errorf("zip: got %v, want a refusal", err)
	}
	sum := func(u *task.Unpack) { u.Parts[0].Sum = task.Sum("sha256:" + strings.Repeat("0", 64)) }
	if err := b.unpack(tarOf(t, file("a")), "tar", sum); err == nil || !strings.Contains(err.Error(), "want sha256:000") {
		t.Errorf("got %v, want a refusal of the checksum", err)
	}
}

func make101() []entry {
	out := make([]entry, 101)
	for i := range out {
		out[i] = entry{name: strings.Repeat("x", i+1), mode: 0o644}
	}
	return out
}

func TestUnpackIsTakenBack(t *testing.T) {
	b := newBench(t)
	b.must(os.Mkdir(b.path("out"), 0o700))
	b.put("out/mine", "mine\n")
	before := b.state()
	one := tarOf(t, entry{name: "top/tool", text: "1\n", mode: 0o755})
	b.must(b.unpack(one, "tar", func(u *task.Unpack) {
		u.Parts[0].Strip, u.Owner = 1, "nobody"
		u.Add, u.Links = map[string][]byte{"marker": []byte("m\n")}, map[string]string{"bin/tool": "../tool"}
	}))
	if got, err := os.ReadFile(b.path("out/bin/tool")); err != nil || string(got) != "1\n" {
		t.Fatalf("got %q (%v)", got, err)
	}
	if info, err := b.m.Reader().Stat(ctx, b.path("out/tool")); err != nil || info.Owner != "nobody" {
		t.Errorf("got %+v (%v), want it to belong to nobody", info, err)
	}
	b.must(b.unpack(tarOf(t, entry{name: "tool", text: "2\n", mode: 0o755}), "tar", nil))
	after := b.state()
	b.undo(host.UndoOptions{})
	if got := b.state(); got != before {
		t.Errorf("taken back, there is\n%s\nwant\n%s", got, before)
	}
	b.undo(host.UndoOptions{}) // of the undo
	if got := b.state(); got != after {
		t.Errorf("with the undo taken back, there is\n%s\nwant\n%s", got, after)
	}
}

func TestUndoOfAnUnpackRefusesWhatOthersChanged(t *testing.T) {
	b := newBench(t)
	b.must(b.unpack(tarOf(t, entry{name: "tool", text: "1\n", mode: 0o755}), "tar", nil))
	b.put("out/extra", "somebody's\n")
	if got := b.undo(host.UndoOptions{})["out"]; got.Status != host.Refused {
		t.Errorf("got %+v, want it to be refused", got)
	}
}

func TestPack(t *testing.T) {
	b := newBench(t)
	b.must(os.MkdirAll(b.path("in/sub"), 0o755))
	b.put("in/a", "a\n")
	b.put("in/sub/b", "b\n")
	b.put("in/sub/c.log", "log\n")
	b.must(os.Symlink("sub/b", b.path("in/l")))
	p := task.Pack{Path: b.path("in.tar.gz"), Base: b.path(""), Names: []string{"in"}, Exclude: []string{"*.log"}, MaxSize: 1 << 20}
	want, have, err := b.m.Reader().Packed(ctx, p)
	b.must(err)
	if have.Digest != "" || want.Digest == "" {
		t.Errorf("before: want %+v, have %+v", want, have)
	}
	b.must(b.writer().Pack(ctx, p))
	first, err := os.ReadFile(p.Path)
	b.must(err)
	again, have, err := b.m.Reader().Packed(ctx, p)
	if b.must(err); again != want || have != want {
		t.Errorf("after: want %+v, have %+v, was %+v", again, have, want)
	}
	b.must(os.Remove(p.Path))
	b.must(os.Chtimes(b.path("in/a"), time.Unix(1, 0), time.Unix(1, 0)))
	b.must(b.writer().Pack(ctx, p))
	if second, _ := os.ReadFile(p.Path); !bytes.Equal(first, second) {
		t.Error("the same content makes another archive")
	}
	list, err := exec.Command("tar", "tzf", p.Path).Output()
	if b.must(err); string(list) != "in/\nin/a\nin/l\nin/sub/\nin/sub/b\n" {
		t.Errorf("tar lists %q", list)
	}
	p.MaxSize = 3
	if err := b.writer().Pack(ctx, p); err == nil || !strings.Contains(err.Error(), "larger than 3 bytes") {
		t.Errorf("got %v, want the bound", err)
	}
}
