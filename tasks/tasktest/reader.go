package tasktest

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/tasks/task"
)

// Facts returns what [Host.SetFacts] made of a Debian server.
func (h *Host) Facts() *task.Facts { return &h.facts }

// Stat implements [task.Reader].
func (h *Host) Stat(ctx context.Context, name string) (task.FileInfo, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.read(ctx, "stat", name); err != nil {
		return task.FileInfo{}, err
	}
	n, there := h.state.Files[h.resolve(name, false)]
	if !there {
		return task.FileInfo{Kind: task.KindNone}, nil
	}
	info := task.FileInfo{Kind: n.Kind, Mode: n.Mode, Owner: n.Owner, Group: n.Group, Size: int64(len(n.Data)), Target: n.Target, Modified: h.modified[name]}
	if n.Kind == task.KindLink {
		info.Size = int64(len(n.Target))
	}
	return info, nil
}

// ReadFile implements [task.Reader].
func (h *Host) ReadFile(ctx context.Context, name string, limit int64) ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.read(ctx, "read", name); err != nil {
		return nil, err
	}
	n, err := h.regular(name)
	if err != nil {
		return nil, err
	}
	if int64(len(n.Data)) > limit {
		return nil, fmt.Errorf("cannot read %s: it has more than %d bytes", name, limit)
	}
	return slices.Clone(n.Data), nil
}

func (h *Host) regular(name string) (node, error) {
	n, there := h.state.Files[h.resolve(name, true)]
	if !there {
		return n, fmt.Errorf("cannot read %s: %w", name, fs.ErrNotExist)
	}
	if n.Kind != task.KindFile {
		return n, fmt.Errorf("cannot read %s: it is a %s", name, n.Kind)
	}
	return n, nil
}

// ReadDir implements [task.Reader].
func (h *Host) ReadDir(ctx context.Context, name string) ([]string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.read(ctx, "list", name); err != nil {
		return nil, err
	}
	dir := h.resolve(name, true)
	n, there := h.state.Files[dir]
	if !there {
		return nil, fmt.Errorf("cannot list %s: %w", name, fs.ErrNotExist)
	}
	if n.Kind != task.KindDir {
		return nil, fmt.Errorf("cannot list %s: it is a %s", name, n.Kind)
	}
	var out []string
	for _, p := range sorted(h.state.Files) {
		if p != "/" && path.Dir(p) == dir {
			out = append(out, path.Base(p))
		}
	}
	return out, nil
}

// Digest implements [task.Reader].
func (h *Host) Digest(ctx context.Context, name string) (task.Content, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.read(ctx, "digest", name); err != nil {
		return task.Content{}, err
	}
	n, err := h.regular(name)
	if err != nil {
		return task.Content{}, err
	}
	if digest := h.sums[string(n.Data)]; digest != "" {
		return task.Content{Digest: digest, Size: int64(len(n.Data))}, nil
	}
	return task.ContentOf(n.Data), nil
}

// LookupUser implements [task.Reader].
func (h *Host) LookupUser(ctx context.Context, name string) (*task.User, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.read(ctx, "look up user", name); err != nil {
		return nil, err
	}
	a, there := h.state.Users[name]
	if !there {
		return nil, nil
	}
	u := a.User
	u.Groups = slices.Clone(u.Groups)
	return &u, nil
}

// LookupGroup implements [task.Reader].
func (h *Host) LookupGroup(ctx context.Context, name string) (*task.Group, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.read(ctx, "look up group", name); err != nil {
		return nil, err
	}
	g, there := h.state.Groups[name]
	if !there {
		return nil, nil
	}
	for _, user := range sorted(h.state.Users) {
		if slices.Contains(h.state.Users[user].Groups, name) {
			g.Members = append(g.Members, user)
		}
	}
	return &g, nil
}

// Package implements [task.Reader].
func (h *Host) Package(ctx context.Context, name string) (task.Package, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.read(ctx, "look up package", name); err != nil {
		return task.Package{}, err
	}
	p := h.state.Packages[name]
	p.Name = name
	return p, nil
}

// PackagesRefreshed implements [task.Reader].
func (h *Host) PackagesRefreshed(ctx context.Context) (time.Time, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.read(ctx, "look up", "package lists"); err != nil {
		return time.Time{}, err
	}
	return h.state.Refreshed["apt"], nil
}

// Unit implements [task.Reader].
func (h *Host) Unit(ctx context.Context, ref task.UnitRef) (task.Unit, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.read(ctx, "look up unit", ref.Name); err != nil {
		return task.Unit{}, err
	}
	u := h.unit(ref)
	return u.Unit, nil
}

// unit answers for units that were added and for those that a unit file brought.
func (h *Host) unit(ref task.UnitRef) unit {
	u, known := h.state.Units[unitKey(ref)]
	u.Name, u.User = ref.Name, ref.User
	digest := h.unitFile(ref)
	switch {
	case known && (u.BuiltIn || digest != ""):
		u.NeedReload = u.Loaded != digest
	case known: // its file is gone, but the manager has not noticed
		u.NeedReload = true
	case digest != "":
		u.Unit = task.Unit{Exists: true, Enabled: "disabled", Active: "inactive", Sub: "dead"}
		u.Was, u.Loaded = "disabled", digest
	default:
		u.Unit = task.Unit{Active: "inactive", Sub: "dead"}
	}
	return u
}

// unitFile returns the digest of a unit's file and its drop-ins, or "" without a file.
func (h *Host) unitFile(ref task.UnitRef) string {
	dirs := []string{"/etc/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system"}
	if ref.User != "" {
		dirs = []string{path.Join(h.state.Users[ref.User].Home, ".config/systemd/user"), "/etc/systemd/user", "/usr/lib/systemd/user"}
	}
	var all []byte
	for _, dir := range dirs {
		for _, p := range sorted(h.state.Files) {
			n := h.state.Files[p]
			if n.Kind == task.KindFile && (p == path.Join(dir, ref.Name) || path.Dir(p) == path.Join(dir, ref.Name+".d")) {
				all = append(all, n.Data...)
			}
		}
	}
	if len(all) == 0 {
		return ""
	}
	return task.DigestOf(all)
}

// Linger implements [task.Reader].
func (h *Host) Linger(ctx context.Context, user string) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.read(ctx, "look up linger of", user); err != nil {
		return false, err
	}
	return h.state.Linger[user], nil
}

// KernelParam implements [task.Reader].
func (h *Host) KernelParam(ctx context.Context, name string) (string, bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.read(ctx, "read kernel parameter", name); err != nil {
		return "", false, err
	}
	v, ok := h.state.Kernel[name]
	return v, ok, nil
}

// Listeners implements [task.Reader].
func (h *Host) Listeners(ctx context.Context) ([]task.Listener, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.read(ctx, "list", "open sockets"); err != nil {
		return nil, err
	}
	return slices.Clone(h.state.Listeners), nil
}

// Query implements [task.Reader].
func (h *Host) Query(ctx context.Context, cmd task.Command) (task.Output, error) {
	h.mu.Lock()
	err := h.enter(ctx, Call{Method: "query", Subject: argv0(cmd), Args: cmd})
	h.mu.Unlock()
	switch {
	case err != nil:
		return task.Output{}, err
	case h.OnQuery == nil && argv0(cmd) == "restic" && slices.Contains(cmd.Argv, "snapshots"):
		text := fmt.Sprintf(`[{"id":"abcd1234","time":%q,"paths":["/etc"]}]`, time.Now().Format(time.RFC3339))
		return task.Output{Stdout: text}, nil
	case h.OnQuery == nil:
		return task.Output{}, nil
	}
	return h.OnQuery(cmd)
}

func argv0(cmd task.Command) string {
	if len(cmd.Argv) == 0 {
		return "nothing"
	}
	return cmd.Argv[0]
}

// Fetch implements [task.Reader].
func (h *Host) Fetch(ctx context.Context, req task.Request) (task.Response, error) {
	h.mu.Lock()
	err := h.enter(ctx, Call{Method: "fetch", Subject: req.URL, Args: req})
	h.mu.Unlock()
	if err != nil {
		return task.Response{}, err
	}
	if h.OnFetch != nil {
		return h.OnFetch(req)
	}
	return task.Response{Status: 200, Header: map[string][]string{"Content-Type": {"text/plain"}}, Body: []byte("ok\n")}, nil
}

// Dial implements [task.Reader].
func (h *Host) Dial(ctx context.Context, network, address string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.read(ctx, "connect to", address); err != nil {
		return err
	}
	if network == "unix" {
		if h.state.Files[h.resolve(address, true)].Kind == task.KindOther {
			return nil
		}
		return fmt.Errorf("cannot connect to %s: connection refused", address)
	}
	_, port, _ := cutLast(address, ":")
	for _, l := range h.state.Listeners {
		if l.Proto == "tcp" && strconv.FormatInt(l.Port, 10) == port {
			return nil
		}
	}
	return fmt.Errorf("cannot connect to %s: connection refused", address)
}

// Connect implements [task.Reader]. Without OnConnect nothing listens.
func (h *Host) Connect(ctx context.Context, network, address string) (io.ReadWriteCloser, error) {
	h.mu.Lock()
	err := h.enter(ctx, Call{Method: "open a connection to", Subject: address})
	h.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if h.OnConnect == nil {
		return nil, fmt.Errorf("cannot connect to %s: connection refused", address)
	}
	return h.OnConnect(network, address)
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// Blob implements [task.Reader].
func (h *Host) Blob(ctx context.Context, b task.Blob) ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.read(ctx, "get", "content"); err != nil {
		return nil, err
	}
	if data, ok := b.Inline(); ok {
		return data, nil
	}
	data, ok := h.blobs[b.Digest]
	if !ok {
		return nil, fmt.Errorf("the controller does not hold content %s", b.Digest)
	}
	return slices.Clone(data), nil
}
