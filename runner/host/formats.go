package host

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"syscall"
)

// unpackFormat unpacks an archive of a format. in is read once, from its beginning,
// but for zip.
func (w *writer) unpackFormat(ctx context.Context, t *sprout, in io.ReadCloser, format string) error {
	switch format {
	case "tar":
		return t.tar(in)
	case "tar.gz":
		z, err := gzip.NewReader(in)
		if err != nil {
			return fmt.Errorf("cannot decompress it: %w", err)
		}
		return t.tar(z)
	case "tar.xz":
		return w.xz(ctx, in, t.tar)
	case "zip":
		f, ok := in.(*summed)
		if !ok {
			return errors.New("a zip archive cannot be unpacked while it arrives")
		}
		return t.zip(f)
	}
	return fmt.Errorf("%q is no format that can be unpacked", format)
}

func (t *sprout) tar(in io.Reader) error {
	from := &ending{in: in}
	r := tar.NewReader(from)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) && from.ended {
			err = io.ErrUnexpectedEOF // its own end would have come first
		} else if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot read the archive: %w", err)
		}
		switch h.Typeflag {
		case tar.TypeReg:
			err = t.file(h.Name, h.FileInfo().Mode(), h.Size, h.ModTime, r)
		case tar.TypeDir:
			err = t.dir(h.Name)
		case tar.TypeSymlink:
			err = t.link(h.Name, h.Linkname)
		case tar.TypeLink:
			err = t.same(h.Name, h.Linkname)
		case tar.TypeXGlobalHeader:
		default:
			err = fmt.Errorf("it holds %q, which is neither a file, a folder nor a link", h.Name)
		}
		if err != nil {
			return err
		}
	}
}

// ending notices when somebody reads past the end.
type ending struct {
	in    io.Reader
	ended bool
}

func (e *ending) Read(p []byte) (int, error) {
	n, err := e.in.Read(p)
	e.ended = e.ended || n == 0 && errors.Is(err, io.EOF)
	return n, err
}

func (t *sprout) zip(f *summed) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	z, err := zip.NewReader(f.File, st.Size())
	if err != nil {
		return fmt.Errorf("cannot read the archive: %w", err)
	}
	for _, e := range z.File {
		if err := f.ctx.Err(); err != nil {
			return err
		}
		if err := t.zipped(e); err != nil {
			return err
		}
	}
	_, err = f.Seek(0, io.SeekStart) // the checksum is of all of it
	return err
}

func (t *sprout) zipped(e *zip.File) error {
	mode := e.Mode()
	if mode.IsDir() {
		return t.dir(e.Name)
	}
	if e.Flags&1 != 0 {
		return fmt.Errorf("%s is encrypted", e.Name)
	}
	in, err := e.Open()
	if err != nil {
		return fmt.Errorf("%s: %w", e.Name, err)
	}
	defer in.Close() //nolint:errcheck // only read
	switch {
	case mode.IsRegular():
		return t.file(e.Name, mode, int64(e.UncompressedSize64), e.Modified, in)
	case mode&fs.ModeSymlink != 0:
		target, err := io.ReadAll(io.LimitReader(in, 4096))
		if err != nil {
			return err
		}
		return t.link(e.Name, string(target))
	}
	return fmt.Errorf("it holds %q, which is neither a file, a folder nor a link", e.Name)
}

// xz decompresses with the host's program: Debian has it everywhere, and a library
// would be 200 kB of every helper.
func (w *writer) xz(ctx context.Context, in io.Reader, use func(io.Reader) error) error {
	file, err := lookup("xz")
	if err != nil {
		return fmt.Errorf("%w: tar.xz takes the package xz-utils", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := exec.CommandContext(ctx, file, "-d", "-c")
	c.Env = []string{"LANG=C.UTF-8"}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM}
	said := newCapture(4096)
	c.Stdin, c.Stderr = in, said
	out, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return fmt.Errorf("cannot start xz: %w", err)
	}
	w.m.spawned.Add(1)
	err = use(out)
	if err == nil {
		_, err = io.Copy(io.Discard, out)
	}
	if err != nil {
		cancel()
	}
	if werr := c.Wait(); err == nil && werr != nil {
		err = fmt.Errorf("cannot decompress it: %s", said)
	}
	return err
}
