package inventory

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"holdfast/playbooks/source"
	"holdfast/playbooks/source/yamlfile"
)

// Read reads a fleet from a file, or from all *.yml and *.yaml files of a folder,
// as if they were one. Faults are in the order of the files and their lines. The
// inventory is never nil; with faults it holds what could be read, and no host of
// it may be contacted.
func Read(path string, opts Options) (*Inventory, source.Faults) {
	r := newReader(opts)
	files, err := list(path)
	if err != nil {
		r.fault(source.Pos{File: path}, "", "", "cannot read the inventory: %v", reason(err))
	}
	for _, file := range files {
		data, err := readFile(file)
		if err != nil {
			r.fault(source.Pos{File: file}, "", "", "cannot read the inventory: %v", reason(err))
			continue
		}
		r.file(file, data)
	}
	return r.finish()
}

// Parse reads a fleet from the bytes of one file; the name is used for places.
func Parse(name string, data []byte, opts Options) (*Inventory, source.Faults) {
	r := newReader(opts)
	r.file(name, data)
	return r.finish()
}

// list returns the files that make up an inventory.
func list(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return []string{path}, err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		if e.IsDir() || e.Name()[0] == '.' || ext != ".yml" && ext != ".yaml" {
			continue
		}
		out = append(out, filepath.Join(path, e.Name()))
	}
	if len(out) == 0 {
		return nil, errors.New("the folder has no *.yml or *.yaml file")
	}
	return out, nil
}

// readFile reads one byte more than can be parsed, so that Parse finds the excess.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // nothing was written
	return io.ReadAll(io.LimitReader(f, yamlfile.MaxSize+1))
}

// reason leaves out the path, which stands in front of the fault.
func reason(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}

// Bounds on what a file may ask for.
const (
	maxHosts  = 200_000
	maxGroups = 10_000
	// maxHints is for how many unknown names the nearest known one is looked up.
	maxHints = 50
)

// reader collects what the files say; resolve makes hosts of it.
type reader struct {
	opts   Options
	inv    *Inventory
	faults source.Faults
	hints  int
	joins  []joining
	full   bool // maxHosts was reported
}

// joining is what one key of hosts says about groups, for the hosts from first up to
// but without end.
type joining struct {
	first, end int
	groups     []*source.Node
	path       string
}

func newReader(opts Options) *reader {
	return &reader{opts: opts, inv: newInventory()}
}

func newInventory() *Inventory {
	return &Inventory{hosts: map[string]*Host{}, groups: map[string]*Group{}}
}

func (r *reader) finish() (*Inventory, source.Faults) {
	r.resolve()
	if len(r.faults) == 0 {
		return r.inv, nil
	}
	return r.inv, r.faults.Sorted()
}

func (r *reader) fault(pos source.Pos, path, hint, format string, args ...any) {
	r.faults.Add(&source.Fault{Pos: pos, Path: path, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// clash is a fault that has a part elsewhere.
func (r *reader) clash(also, pos source.Pos, path, hint, format string, args ...any) {
	r.fault(pos, path, hint, format, args...)
	r.faults[len(r.faults)-1].Also = []source.Pos{also}
}

// didYouMean is source.DidYouMean, for as many names as a person may want to read.
func (r *reader) didYouMean(name string, candidates func() []string) string {
	if r.hints++; r.hints > maxHints {
		return ""
	}
	return source.DidYouMean(name, candidates())
}

var topKeys = []string{"ssh", "sudo", "vars", "hosts", "groups"}

func (r *reader) file(name string, data []byte) {
	root, faults := yamlfile.Parse(name, data)
	r.faults = append(r.faults, faults...)
	if !r.isMap(root, "", "an inventory is a mapping with the keys hosts, groups, vars, ssh and sudo") {
		return
	}
	for _, e := range root.Entries {
		switch e.Key.Text {
		case "ssh", "sudo", "vars":
			r.top(e)
		case "hosts":
			r.hosts(e.Value)
		case "groups":
			r.groups(e.Value)
		case "all", "children":
			r.fault(e.Key.Pos, e.Key.Text, "hosts, groups and vars stand at the top of the file", "unknown key")
		default:
			r.unknown(e.Key, "", topKeys)
		}
	}
}

// top adds what the top of a file says for every host.
func (r *reader) top(e source.Entry) {
	for _, s := range r.settings(e, "") {
		if old := r.inv.all.find(s.name); old != nil {
			r.clash(old.node.Pos, s.node.Pos, settingPath(s.name), "remove one of them", "set twice for every host")
			continue
		}
		r.inv.all = append(r.inv.all, s)
	}
}

// settings reads one of the keys that every level has.
func (r *reader) settings(e source.Entry, path string) layer {
	path = join(path, e.Key.Text)
	switch e.Key.Text {
	case "ssh":
		return r.ssh(e.Value, path)
	case "sudo":
		return r.sudo(e.Value, path)
	case "labels":
		return r.labels(e.Value, path)
	}
	return r.vars(e.Value, path)
}

func (r *reader) vars(n *source.Node, path string) layer {
	if !r.isMap(n, path, "write {name: value}") {
		return nil
	}
	out := make(layer, 0, len(n.Entries))
	for _, e := range n.Entries {
		if !isIdentifier(e.Key.Text) {
			r.fault(e.Key.Pos, join(path, e.Key.Text), "use letters, digits and _, and start with a letter", "%q cannot be the name of a var", e.Key.Text)
			continue
		}
		out = append(out, setting{name: e.Key.Text, node: e.Value})
	}
	return out
}

func (r *reader) labels(n *source.Node, path string) layer {
	if !r.isMap(n, path, "write {name: value}") {
		return nil
	}
	out := make(layer, 0, len(n.Entries))
	for _, e := range n.Entries {
		key := e.Key.Text
		if key == "" {
			r.fault(e.Key.Pos, path, "", "a label needs a name")
			continue
		}
		if text, ok := r.text(e.Value, join(path, key)); ok {
			out = append(out, setting{"labels." + key, e.Value, func(h *Host) { h.Labels[key] = text }})
		}
	}
	return out
}
