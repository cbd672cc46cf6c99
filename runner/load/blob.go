package load

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/template"

	"holdfast/playbooks/source"
	"holdfast/runner/expr"
	"holdfast/tasks/secret"
	"holdfast/tasks/task"
)

// maxInline is the size up to which content travels with the arguments instead of
// being asked for. It keeps a converged task under a kilobyte on the wire.
const maxInline = 512

// maxFile bounds a file that a playbook sends.
const maxFile = 64 << 20

// Blobs holds the content of the files and texts of a run by digest, shared by all
// hosts, so that a file is read once.
type Blobs struct {
	mu       sync.Mutex
	byDigest map[string][]byte
}

// NewBlobs returns an empty store.
func NewBlobs() *Blobs { return &Blobs{byDigest: map[string][]byte{}} }

func (b *Blobs) put(data []byte) string {
	digest := task.DigestOf(data)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.byDigest[digest] = data
	return digest
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

func (b *Blobs) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.byDigest)
}

// tmpl is a parsed template with the names it reads that may not be known.
type tmpl struct {
	parsed *template.Template
	text   string
	reads  []string
}

// mentions reports whether the template may read a name. It may find too many.
func (t *tmpl) mentions(name string) bool {
	return regexp.MustCompile(`\.` + regexp.QuoteMeta(name) + `\b`).MatchString(t.text)
}

// params returns the parameters as the template reads them.
func (t *tmpl) params(v any, revealed *bool) (map[string]any, *expr.Unknown) {
	out := map[string]any{}
	given, _ := v.(map[string]any)
	for name, v := range given {
		switch v := v.(type) {
		case expr.Unknown:
			if t.mentions(name) {
				return nil, &v
			}
		case secret.Text:
			out[name] = revealing{v, revealed}
		default:
			out[name] = plain(v)
		}
	}
	return out, nil
}

// revealing is a secret in a template. Writing it out makes the whole file a secret.
type revealing struct {
	text     secret.Text
	revealed *bool
}

// String returns the secret's text.
func (s revealing) String() string {
	*s.revealed = true
	return s.text.Reveal()
}

// folders are where files of a kind are looked for, in order, below the playbook's folder.
var folders = map[string][]string{"file": {"files", "."}, "template": {"templates", "."}}

// blobFile checks the file that a field names, as far as its name is known.
func (c *compiler) blobFile(sc *scope, n *Node, v *source.Node, text *expr.Text, f *task.Field) *source.Fault {
	name, ok := text.Literal()
	if !ok {
		if f.Blob == "template" {
			return &source.Fault{Pos: v.Pos, Message: "the name of a template must be known when the playbook is loaded"}
		}
		return nil
	}
	data, err := readBeside(n.fs, f.Blob, name)
	if err != nil {
		return &source.Fault{Pos: v.Pos, Message: err.Error(), Hint: "it is looked for in " + strings.Join(folders[f.Blob], " and ") + " beside the playbook"}
	}
	if f.Blob != "template" {
		return nil
	}
	parsed, err := parseTemplate(name, data)
	if err != nil {
		return templateFault(name, err)
	}
	if n.templates == nil {
		n.templates = map[string]*tmpl{}
	}
	t := &tmpl{parsed: parsed, text: string(data)}
	for _, name := range append(slices.Collect(maps.Keys(sc.results)), "facts", n.Entry.As) {
		if t.mentions(name) {
			t.reads = append(t.reads, name)
		}
	}
	slices.Sort(t.reads)
	n.templates[name] = t
	return nil
}

func readBeside(fsys fs.FS, kind, name string) ([]byte, error) {
	if fsys == nil {
		return nil, fmt.Errorf("cannot read %q: the playbook has no folder", name)
	}
	clean := path.Clean(name)
	if path.IsAbs(clean) || !fs.ValidPath(clean) {
		return nil, fmt.Errorf("cannot read %q: it must lie beside the playbook", name)
	}
	for _, folder := range folders[kind] {
		info, err := fs.Stat(fsys, path.Join(folder, clean))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read %q: %w", name, err)
		}
		if !info.Mode().IsRegular() || info.Size() > maxFile {
			return nil, fmt.Errorf("cannot send %q: it must be a regular file of at most %d MiB", name, maxFile>>20)
		}
		return fs.ReadFile(fsys, path.Join(folder, clean))
	}
	return nil, fmt.Errorf("cannot read %q: there is no such file", name)
}

// parseTemplate reads a template of the template module.
func parseTemplate(name string, data []byte) (*template.Template, error) {
	return template.New(name).Option("missingkey=error").Funcs(template.FuncMap{
		"secret": func(string) (string, error) { return "", errors.New("internal error: secret without a run") },
		"join":   strings.Join, "lower": strings.ToLower, "upper": strings.ToUpper, "quote": strconv.Quote,
	}).Parse(string(data))
}

var templatePlace = regexp.MustCompile(`^template: ([^:]+):(\d+)(?::(\d+))?: (.*)$`)

// templateFault takes the place out of a template's error.
func templateFault(name string, err error) *source.Fault {
	f := &source.Fault{Pos: source.Pos{File: name}, Message: err.Error()}
	if m := templatePlace.FindStringSubmatch(strings.ReplaceAll(err.Error(), "\n", " ")); m != nil {
		f.Pos.Line, _ = strconv.Atoi(m[2])
		f.Pos.Col, _ = strconv.Atoi(m[3])
		f.Pos.Col++
		f.Message = m[4]
	}
	return f
}

// content replaces the blob fields of resolved arguments by references to content.
func (n *Node) content(args *source.Node, r *resolution, blobs *Blobs) error {
	for i := range n.Module.Params {
		f := &n.Module.Params[i]
		if f.Blob == "" {
			continue
		}
		for k, kv := range args.Entries {
			if kv.Key.Text != f.Name || kv.Value.IsNull() || r.open[n.original(f.Name)] {
				continue
			}
			ref, err := n.reference(f, kv.Value, r, blobs)
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

func (n *Node) reference(f *task.Field, v *source.Node, r *resolution, blobs *Blobs) (*source.Node, error) {
	data, revealed := []byte(v.Text), false
	var err error
	switch f.Blob {
	case "text":
		if text := r.texts[n.original(f.Name)]; text != nil {
			revealed = text.Reveals()
		}
	case "file":
		data, err = readBeside(n.fs, "file", v.Text)
	case "template":
		var unknown *expr.Unknown
		data, revealed, unknown, err = n.render(v.Text, r)
		if unknown != nil {
			r.open[n.original(f.Name)] = true
			r.unknown = unknown
			return nil, nil
		}
	}
	if err != nil {
		return nil, failureAt(v, r.path+"."+f.Name, err)
	}
	if len(data) <= maxInline && !revealed && task.Printable(data) {
		return source.FromValue(v.Pos, map[string]any{task.TextKey: string(data)})
	}
	return source.FromValue(v.Pos, map[string]any{task.BlobKey: blobs.put(data), "size": strconv.Itoa(len(data)), "secret": strconv.FormatBool(revealed)})
}

// render runs a template with everything that expressions see too.
func (n *Node) render(name string, r *resolution) (data []byte, revealed bool, unknown *expr.Unknown, err error) {
	t := n.templates[name]
	values := map[string]any{}
	for key, v := range r.vars.Values {
		if u, ok := v.(expr.Unknown); ok {
			if slices.Contains(t.reads, key) {
				return nil, false, &u, nil
			}
			continue
		}
		values[key] = plain(v)
	}
	params, unknown := t.params(r.vars.Values["params"], &revealed)
	if unknown != nil {
		return nil, false, unknown, nil
	}
	values["params"] = params
	clone, err := t.parsed.Clone()
	if err != nil {
		return nil, false, nil, err
	}
	clone.Funcs(template.FuncMap{"secret": func(name string) (string, error) {
		if r.vars.Secret == nil {
			return "", errors.New("no secrets are configured")
		}
		v, err := r.vars.Secret(name)
		if err != nil {
			return "", err
		}
		revealed = true
		if s, ok := v.(secret.Text); ok {
			return s.Reveal(), nil
		}
		return "", nil
	}})
	var b bytes.Buffer
	if err := clone.Execute(&b, values); err != nil {
		return nil, revealed, nil, templateFault(name, err)
	}
	return b.Bytes(), revealed, nil, nil
}
