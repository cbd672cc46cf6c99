package load

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"sync"

	"holdfast/playbooks/lang"
	"holdfast/playbooks/source"
	"holdfast/runner/expr"
	"holdfast/tasks/task"
)

// maxInline is the size up to which content travels with the arguments instead of
// being asked for. It keeps a converged task under a kilobyte on the wire.
const maxInline = 512

// maxFile bounds a file that a playbook sends.
const maxFile = 64 << 20

// Blobs holds content by digest. It may be used by several goroutines.
type Blobs struct {
	mu       sync.Mutex
	byDigest map[string][]byte
}

// NewBlobs returns an empty store.
func NewBlobs() *Blobs { return &Blobs{byDigest: map[string][]byte{}} }

func (b *Blobs) put(digest string, data []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.byDigest[digest] = data
}

func (b *Blobs) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.byDigest)
}

// Get returns content by its digest.
func (b *Blobs) Get(digest string) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	data, ok := b.byDigest[digest]
	if !ok {
		return nil, errors.New("this run has no content of that digest")
	}
	return data, nil
}

// subfolders are where files of a kind are looked for, in order, below the playbook's folder.
var subfolders = map[string][]string{"file": {"files", "."}, "template": {"templates", "."}}

// folder is what lies beside a playbook. Each file is read once, so that a run sends
// the same to every host.
type folder struct {
	fs    fs.FS
	dir   string // as faults name it
	mu    sync.Mutex
	files map[string]*file
}

type file struct {
	shown  string // its path as faults name it
	data   []byte
	digest string
	err    error
}

func newFolder(pb *lang.Playbook) *folder {
	return &folder{fs: pb.FS, dir: path.Dir(pb.File), files: map[string]*file{}}
}

// read returns a file by its name in the playbook.
func (d *folder) read(kind, name string) (*file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.files[kind+":"+name]
	if f == nil {
		f = d.open(kind, name)
		d.files[kind+":"+name] = f
	}
	return f, f.err
}

func (d *folder) open(kind, name string) *file {
	fail := func(format string, args ...any) *file { return &file{err: fmt.Errorf(format, args...)} }
	if d.fs == nil {
		return fail("cannot read %q: the playbook has no folder", name)
	}
	clean := path.Clean(name)
	if path.IsAbs(clean) || !fs.ValidPath(clean) {
		return fail("cannot read %q: it must lie beside the playbook", name)
	}
	for _, sub := range subfolders[kind] {
		at := path.Join(sub, clean)
		info, err := fs.Stat(d.fs, at)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && (!info.Mode().IsRegular() || info.Size() > maxFile) {
			return fail("cannot send %q: it must be a regular file of at most %d MiB", name, maxFile>>20)
		}
		var data []byte
		if err == nil {
			data, err = fs.ReadFile(d.fs, at)
		}
		if err != nil {
			return fail("cannot read %q: %w", name, bare(err))
		}
		return &file{shown: path.Join(d.dir, at), data: data, digest: task.DigestOf(data)}
	}
	return fail("cannot read %q: there is no such file", name)
}

// bare returns what went wrong without the path, which the message has already.
func bare(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// blobFile checks the file that a field names, as far as its name is known.
func (c *compiler) blobFile(sc *scope, n *Node, v *source.Node, text *expr.Text, f *task.Field) *source.Fault {
	name, ok := text.Literal()
	if !ok {
		if f.Blob == "template" {
			return &source.Fault{Pos: v.Pos, Message: "the name of a template must be known when the playbook is loaded"}
		}
		return nil
	}
	found, err := n.folder.read(f.Blob, name)
	if err != nil {
		return &source.Fault{Pos: v.Pos, Message: err.Error(), Hint: "it is looked for in " + strings.Join(subfolders[f.Blob], " and ") + " beside the playbook"}
	}
	if f.Blob != "template" {
		return nil
	}
	t, fault := parseTemplate(found, sc)
	if fault != nil {
		return fault
	}
	if n.templates == nil {
		n.templates = map[string]*tmpl{}
	}
	n.templates[name] = t
	return nil
}

// content replaces the blob fields of resolved arguments by references to content,
// which goes to the host's store. Without a host it only looks whether it could.
func (n *Node) content(args *source.Node, r *resolution, host *Host) error {
	for i := range n.Module.Params {
		f := &n.Module.Params[i]
		if f.Blob == "" {
			continue
		}
		for k, kv := range args.Entries {
			if kv.Key.Text != f.Name || kv.Value.IsNull() || r.open[n.original(f.Name)] {
				continue
			}
			ref, err := n.reference(f, kv.Value, r, host)
			if err != nil {
				return err
			}
			if ref != nil {
				args.Entries[k].Value = ref
			}
		}
	}
	return nil
}

// original returns the node of an argument as written.
func (n *Node) original(name string) *source.Node { return n.Entry.Args.Get(name) }

// reference makes the content of one field and returns what stands for it.
func (n *Node) reference(f *task.Field, v *source.Node, r *resolution, host *Host) (*source.Node, error) {
	made := &file{}
	revealed := false
	var err error
	switch f.Blob {
	case "file":
		made, err = n.folder.read("file", v.Text)
	case "template":
		made.data, revealed, err = n.render(v, r)
	default:
		made.data = []byte(v.Text)
		text := r.texts[n.original(f.Name)]
		revealed = text != nil && text.Reveals()
	}
	if err != nil {
		return nil, failureAt(v, r.path+"."+f.Name, err)
	}
	if host == nil || r.open[n.original(f.Name)] {
		return nil, nil
	}
	if len(made.data) <= maxInline && !revealed && task.Printable(made.data) {
		return source.FromValue(v.Pos, map[string]any{task.TextKey: string(made.data)})
	}
	store := host.opts.Blobs
	if made.digest == "" {
		store, made.digest = host.made, task.DigestOf(made.data)
	}
	store.put(made.digest, made.data)
	return source.FromValue(v.Pos, map[string]any{task.BlobKey: made.digest, "size": strconv.Itoa(len(made.data)), "secret": strconv.FormatBool(revealed)})
}
