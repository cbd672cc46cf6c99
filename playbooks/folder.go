package playbooks

import (
	"io/fs"
	"os"
	"path/filepath"
)

// folder is a folder on disk whose links do not lead out of it: a playbook that
// was copied from somewhere must not send this machine's other files to hosts.
type folder string

var (
	_ fs.StatFS = folder("")
	_ fs.SubFS  = folder("")
)

// Open implements fs.FS.
func (f folder) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	return os.OpenInRoot(string(f), filepath.FromSlash(name))
}

// Stat implements fs.StatFS. It opens nothing, so that a pipe cannot block it.
func (f folder) Stat(name string) (fs.FileInfo, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrInvalid}
	}
	root, err := os.OpenRoot(string(f))
	if err != nil {
		return nil, err
	}
	info, err := root.Stat(filepath.FromSlash(name))
	if cerr := root.Close(); err == nil {
		err = cerr
	}
	return info, err
}

// Sub implements fs.SubFS. The folder below may itself be a link.
func (f folder) Sub(dir string) (fs.FS, error) {
	if !fs.ValidPath(dir) {
		return nil, &fs.PathError{Op: "sub", Path: dir, Err: fs.ErrInvalid}
	}
	return folder(filepath.Join(string(f), filepath.FromSlash(dir))), nil
}
