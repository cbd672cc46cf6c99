package secrets

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"holdfast/inventory"
	"holdfast/playbooks/source"
	"holdfast/tasks/secret"
	"holdfast/tasks/task"
)

// The files of the store.
const (
	recipientsFile = "recipients.txt"
	sealedExt      = ".age"
	noteExt        = ".json"
)

// maxSealed bounds an encrypted file: a secret with its armour and many recipients.
const maxSealed = 1 << 20

// Store is a project's folder of encrypted secrets: one age file for each secret and
// scope. fleet/NAME.age is for every host, groups/GROUP/NAME.age and
// hosts/HOST/NAME.age are for some. It is safe for concurrent use.
type Store struct {
	Dir   string // the folder
	Shown string // how people call it
	Keys  *Keyring
	Now   func() time.Time
	Who   string // who is at work, for whoever waits for the lock

	mu    sync.Mutex
	index map[string][]Scope // by name, in order; nil when it is not read yet
}

// Exists reports whether the project has a store.
func (s *Store) Exists() bool {
	st, err := os.Stat(s.Dir)
	return err == nil && st.IsDir()
}

// root opens the folder so that no name and no link leads out of it.
func (s *Store) root() (*os.Root, error) {
	r, err := os.OpenRoot(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Fault{Message: "this project has no store of secrets: there is no folder " + s.Shown, Hint: "'holdfast secret init' makes one"}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open the store of secrets: %w", plain(err))
	}
	return r, nil
}

// names returns what the store holds: scopes by name.
func (s *Store) names() (map[string][]Scope, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.index != nil {
		return s.index, nil
	}
	index := map[string][]Scope{}
	err := s.walk(func(file string, _ fs.DirEntry) {
		if scope, ok := scopeOf(path.Dir(file)); ok {
			if name, sealed := strings.CutSuffix(path.Base(file), sealedExt); sealed && isName(name) {
				index[name] = append(index[name], scope)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	s.index = index
	return index, nil
}

// maxFiles bounds how many files of a store are looked at.
const maxFiles = 100_000

// walk calls look for everything below the store that is not a folder, in order.
func (s *Store) walk(look func(file string, e fs.DirEntry)) error {
	r, err := s.root()
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // only read
	seen := 0
	err = fs.WalkDir(r.FS(), ".", func(file string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if seen++; seen > maxFiles {
			return fmt.Errorf("there are more than %d files", maxFiles)
		}
		look(file, e)
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot read the store of secrets %s: %w", s.Shown, plain(err))
	}
	return nil
}

// forget makes the next look read the folder again.
func (s *Store) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index = nil
}

// Names returns the names of all secrets, sorted.
func (s *Store) Names() ([]string, error) {
	index, err := s.names()
	return slices.Sorted(maps.Keys(index)), err
}

// Refs returns all secrets, sorted.
func (s *Store) Refs() ([]Ref, error) {
	index, err := s.names()
	var out []Ref
	for name, scopes := range index {
		for _, scope := range scopes {
			out = append(out, Ref{name, scope})
		}
	}
	slices.SortFunc(out, compareRefs)
	return out, err
}

// Known returns the fault of a name that is in no scope at all. The fault does not
// repeat the name, which may be a secret's text by mistake.
func (s *Store) Known(name string) error {
	index, err := s.names()
	if err != nil || index[name] != nil {
		return err
	}
	f := &Fault{Message: "no secret has this name", Hint: source.DidYouMean(name, slices.Sorted(maps.Keys(index)))}
	if f.Hint == "" {
		f.Hint = "'holdfast secret list' shows the names, 'holdfast secret set' makes one; other providers have a prefix, such as env:NAME"
	}
	return f
}

// Resolve finds the secret of that name for a host: its own, else that of a group
// that it is in, else that of the fleet. Of groups inside each other the inner one
// counts; two others that both have one are a fault. Without a host it is the
// fleet's.
func (s *Store) Resolve(name string, h *inventory.Host) (Ref, error) {
	if err := s.Known(name); err != nil {
		return Ref{}, err
	}
	index, err := s.names()
	if err != nil {
		return Ref{}, err
	}
	var groups []string
	fleet := false
	for _, scope := range index[name] {
		switch {
		case scope.Kind == KindHost && h != nil && scope.Name == h.Name:
			return Ref{name, scope}, nil
		case scope.Kind == KindGroup && h != nil && slices.Contains(h.Groups, scope.Name):
			groups = append(groups, scope.Name)
		case scope.Kind == KindFleet:
			fleet = true
		}
	}
	if len(groups) > 1 {
		groups = h.Innermost(groups)
	}
	switch {
	case len(groups) > 1:
		return Ref{}, &Fault{Message: fmt.Sprintf("the groups %s of %s both have this secret, and neither is inside of the other", strings.Join(groups, " and "), h.Name),
			Hint: "set it for the host, or put one group into the other"}
	case len(groups) == 1:
		return Ref{name, Scope{KindGroup, groups[0]}}, nil
	case fleet:
		return Ref{name, Fleet}, nil
	case h == nil:
		return Ref{}, &Fault{Message: "the fleet has no secret of this name, it is for " + listed(index[name]), Hint: "choose with --scope"}
	}
	return Ref{}, &Fault{Message: fmt.Sprintf("%s has no secret of this name, it is for %s", h.Name, listed(index[name])),
		Hint: fmt.Sprintf("'holdfast secret set' with --scope host:%s, a group of it, or fleet", h.Name)}
}

func listed(scopes []Scope) string {
	var out []string
	for _, s := range scopes[:min(len(scopes), 5)] {
		out = append(out, s.String())
	}
	if len(scopes) > 5 {
		out = append(out, fmt.Sprintf("%d more", len(scopes)-5))
	}
	return strings.Join(out, ", ")
}

// Only returns the one scope that a name has, for whoever did not say which.
func (s *Store) Only(name string) (Ref, error) {
	if err := s.Known(name); err != nil {
		return Ref{}, err
	}
	index, err := s.names()
	if err != nil {
		return Ref{}, err
	}
	if scopes := index[name]; len(scopes) > 1 {
		return Ref{}, &Fault{Message: fmt.Sprintf("%s is there for %s", name, listed(scopes)), Hint: "choose with --scope"}
	}
	return Ref{name, index[name][0]}, nil
}

// Has faults a secret that is not there.
func (s *Store) Has(ref Ref) error {
	if err := s.Known(ref.Name); err != nil {
		return err
	}
	index, err := s.names()
	if err == nil && !slices.Contains(index[ref.Name], ref.Scope) {
		err = &Fault{Message: fmt.Sprintf("%s is not there for %s, it is for %s", ref.Name, ref.Scope, listed(index[ref.Name])), Hint: "choose with --scope"}
	}
	return err
}

// Read decrypts a secret.
func (s *Store) Read(ref Ref) (secret.Text, error) {
	data, err := s.sealed(ref)
	if err != nil {
		return secret.Text{}, err
	}
	text, err := s.Keys.open(data)
	if err != nil {
		return secret.Text{}, s.at(ref, err)
	}
	return secret.New(string(text)), nil
}

// at says which file an error is about, and keeps a hint.
func (s *Store) at(ref Ref, err error) error {
	var f *Fault
	if errors.As(err, &f) {
		return &Fault{Message: fmt.Sprintf("cannot decrypt %s: %s", s.shown(ref.file()), f.Message), Hint: f.Hint}
	}
	return fmt.Errorf("cannot decrypt %s: %w", s.shown(ref.file()), plain(err))
}

func (s *Store) shown(file string) string { return path.Join(filepath.ToSlash(s.Shown), file) }

// sealed returns a secret's encrypted file.
func (s *Store) sealed(ref Ref) ([]byte, error) {
	r, err := s.root()
	if err != nil {
		return nil, err
	}
	defer r.Close() //nolint:errcheck // only read
	data, err := readRegular(r, ref.file(), maxSealed)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", s.shown(ref.file()), plain(err))
	}
	return data, nil
}

// Digest tells one state of a secret's file from another.
func (s *Store) Digest(ref Ref) (string, error) {
	data, err := s.sealed(ref)
	return task.DigestOf(data), err
}

// readRegular reads a file of the store that is no link, no pipe and not too large.
func readRegular(r *os.Root, name string, limit int64) ([]byte, error) {
	st, err := r.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	// A pipe that takes the file's place in between does not hold us up.
	f, err := r.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	data, err := bounds(f, limit)
	return data, errors.Join(err, f.Close())
}

func bounds(f *os.File, limit int64) ([]byte, error) {
	st, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !st.Mode().IsRegular():
		return nil, errors.New("it is not a regular file")
	case st.Size() > limit:
		return nil, fmt.Errorf("the file is larger than %d KiB", limit>>10)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("the file is larger than %d KiB", limit>>10)
	}
	return data, err
}

// plain takes the path out of a file's error, where the message names it already.
func plain(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}
