package host

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"

	"holdfast/tasks/task"
)

// node is a path that the plan changes.
type node struct {
	info   task.FileInfo
	data   []byte
	known  bool          // data is the content; else it is the base's
	sum    *task.Content // what is known of content that only the real run will have
	secret bool
	cut    bool // nothing of the base shows below
	why    string
}

// Stat answers for the path itself.
func (v *overlayWriter) Stat(ctx context.Context, name string) (task.FileInfo, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.look(ctx); err != nil {
		return task.FileInfo{}, err
	}
	real, err := v.resolve(ctx, name, false)
	if err != nil {
		return task.FileInfo{}, err
	}
	info, err := v.lstat(ctx, real)
	if err == nil && !info.Exists() {
		if why := v.shipped(ctx, real); why != "" {
			v.doubt("%s", why)
		}
	}
	return info, err
}

// lstat answers for a path whose folders are no links.
func (v *overlayWriter) lstat(ctx context.Context, real string) (task.FileInfo, error) {
	if n := v.nodes[real]; n != nil {
		return n.info, nil
	}
	hidden, err := v.hidden(real)
	if hidden || err != nil {
		return task.FileInfo{Kind: task.KindNone}, err
	}
	return v.base.Stat(ctx, real)
}

// hidden reports whether the plan took the folder of a path away or made it anew.
func (v *overlayWriter) hidden(real string) (bool, error) {
	for dir := path.Dir(real); ; dir = path.Dir(dir) {
		if n := v.nodes[dir]; n != nil {
			if n.why != "" {
				return false, task.Unknownf("%s", n.why)
			}
			if n.cut || n.info.Kind != task.KindDir {
				return true, nil
			}
		}
		if dir == "/" {
			return false, nil
		}
	}
}

// resolve follows the links of the host as it would be. The last name is followed
// only when asked.
func (v *overlayWriter) resolve(ctx context.Context, name string, last bool) (string, error) {
	if err := checkPath(name); err != nil {
		return "", err
	}
	at := "/"
	todo := strings.Split(path.Clean(name), "/")
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		if part == "" {
			continue
		}
		next := path.Join(at, part)
		if len(todo) == 0 && !last {
			return next, nil
		}
		info, err := v.lstat(ctx, next)
		if err != nil || info.Kind != task.KindLink {
			at = next // whoever uses it will get the error
			continue
		}
		if links++; links > maxLinks {
			return "", fmt.Errorf("cannot follow %s: too many links", name)
		}
		todo = append(strings.Split(info.Target, "/"), todo...)
		if path.IsAbs(info.Target) {
			at = "/"
		}
	}
	return at, nil
}

// shipped says why an absent path may come with a package that the plan installs:
// its name has to do with the package, or its folder is not there either.
func (v *overlayWriter) shipped(ctx context.Context, real string) string {
	if len(v.planned) == 0 {
		return ""
	}
	for _, part := range strings.Split(real, "/") {
		stem, _, _ := strings.Cut(part, ".")
		for _, pkg := range v.planned {
			first, _, _ := strings.Cut(pkg, "-")
			if stem != "" && (stem == pkg || stem == first && len(first) > 2) && v.nodes[path.Dir(real)] == nil {
				return fmt.Sprintf("%s may come with the package %s, which the plan installs", real, pkg)
			}
		}
	}
	if dir, err := v.lstat(ctx, path.Dir(real)); err == nil && !dir.Exists() && v.nodes[path.Dir(real)] == nil {
		return fmt.Sprintf("%s may come with a package that the plan installs", path.Dir(real))
	}
	return ""
}

// file returns the node of a regular file, or nil and the path in the base.
func (v *overlayWriter) file(ctx context.Context, name string) (*node, string, error) {
	if err := v.look(ctx); err != nil {
		return nil, "", err
	}
	real, err := v.resolve(ctx, name, true)
	if err != nil {
		return nil, "", err
	}
	n := v.nodes[real]
	info, err := v.lstat(ctx, real)
	if err != nil {
		return nil, "", err
	}
	if !info.Exists() {
		if why := v.shipped(ctx, real); why != "" && n == nil {
			return nil, "", task.Unknownf("%s", why)
		}
		if dir, err := v.lstat(ctx, path.Dir(real)); err == nil && dir.Exists() && dir.Kind != task.KindDir {
			return nil, "", &fs.PathError{Op: "open", Path: name, Err: syscall.ENOTDIR}
		}
		return nil, "", &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	if n != nil && info.Kind != task.KindFile {
		return nil, "", fmt.Errorf("cannot read %s: it is not a regular file", name)
	}
	if n != nil && !n.known && n.sum == nil {
		n = nil
	}
	return n, real, nil
}

// ReadFile returns the content that a file would have.
func (v *overlayWriter) ReadFile(ctx context.Context, name string, limit int64) ([]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	n, real, err := v.file(ctx, name)
	if err != nil {
		return nil, err
	}
	if n == nil {
		return v.base.ReadFile(ctx, real, limit)
	}
	if n.sum != nil {
		return nil, task.Unknownf("%s is not there yet", name)
	}
	if int64(len(n.data)) > limit {
		return nil, fmt.Errorf("cannot read %s: it is larger than %d bytes", name, limit)
	}
	return slices.Clone(n.data), nil
}

// Digest describes the content that a file would have.
func (v *overlayWriter) Digest(ctx context.Context, name string) (task.Content, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	n, real, err := v.file(ctx, name)
	if err != nil {
		return task.Content{}, err
	}
	if n == nil {
		return v.base.Digest(ctx, real)
	}
	if n.sum != nil {
		if n.sum.Digest == "" {
			return *n.sum, task.Unknownf("%s is not there yet", name)
		}
		return *n.sum, nil
	}
	c := task.ContentOf(n.data)
	if n.secret {
		c.Text, c.IsText = "", false
	}
	return c, nil
}

// ReadDir returns the names that a directory would have.
func (v *overlayWriter) ReadDir(ctx context.Context, name string) ([]string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.look(ctx); err != nil {
		return nil, err
	}
	real, err := v.resolve(ctx, name, true)
	if err != nil {
		return nil, err
	}
	info, err := v.lstat(ctx, real)
	if err != nil {
		return nil, err
	}
	if !info.Exists() {
		if why := v.shipped(ctx, real); why != "" {
			return nil, task.Unknownf("%s", why)
		}
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	var names []string
	hidden, err := v.hidden(path.Join(real, "x"))
	if err != nil {
		return nil, err
	}
	if !hidden {
		if names, err = v.base.ReadDir(ctx, real); err != nil {
			return nil, err
		}
	}
	for p, n := range v.nodes {
		if path.Dir(p) != real || p == real {
			continue
		}
		base := path.Base(p)
		names = slices.DeleteFunc(names, func(s string) bool { return s == base })
		if n.info.Exists() {
			names = append(names, base)
		}
	}
	slices.Sort(names)
	return names, nil
}

// target resolves a path that is to be changed and looks at it and at its folder.
func (v *overlayWriter) target(ctx context.Context, name string) (real string, now task.FileInfo, err error) {
	if err = ctx.Err(); err != nil {
		return "", now, err
	}
	if real, err = v.resolve(ctx, name, false); err != nil {
		return "", now, err
	}
	if now, err = v.lstat(ctx, real); err != nil {
		return "", now, err
	}
	dir, err := v.lstat(ctx, path.Dir(real))
	switch {
	case err != nil:
		return "", now, err
	case dir.Kind == task.KindDir || path.Dir(real) == "/":
	case dir.Exists():
		return "", now, fmt.Errorf("%s is not a directory", path.Dir(real))
	case len(v.planned) > 0:
		v.doubt("%s may come with a package that the plan installs", path.Dir(real))
	case len(v.opaque) > 0:
		v.doubt("%s may come from what %q does", path.Dir(real), v.opaque[len(v.opaque)-1])
	default:
		return "", now, fmt.Errorf("the directory %s is not there", path.Dir(real))
	}
	return real, now, nil
}
