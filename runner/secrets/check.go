package secrets

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Finding is something that is wrong with the store, or not as it should be.
type Finding struct {
	Serious bool // a secret is in danger, or cannot be used
	File    string
	Message string
	Hint    string
}

// Check looks at everything in the store: files that cannot be decrypted, that are
// encrypted to others than the recipients, that are overdue, that are no secrets at
// all, and what others can read. Without identities it does all but decrypting, and
// says so.
func (s *Store) Check() ([]Finding, error) {
	r, err := s.root()
	if err != nil {
		return nil, err
	}
	defer r.Close() //nolint:errcheck // only read
	c := &checker{s: s, r: r}
	if c.to, err = s.recipients(r); err != nil {
		c.add(true, recipientsFile, advised(err), "%s", err)
	}
	if c.locked = s.Keys.Unlock(); c.locked != nil {
		// A machine that watches ages has no identity, and need not have one.
		c.add(!errors.Is(c.locked, errNoIdentity), "", advised(c.locked), "nothing was decrypted: %s", c.locked)
	}
	if err := s.walk(func(file string, e fs.DirEntry) { c.file(file, e) }); err != nil {
		return nil, err
	}
	c.mode(".", 0o077)
	c.identities()
	return c.found, nil
}

func advised(err error) string {
	var f *Fault
	if errors.As(err, &f) {
		return f.Hint
	}
	return ""
}

type checker struct {
	s      *Store
	r      *os.Root
	to     *recipients
	locked error
	found  []Finding
}

func (c *checker) add(serious bool, file, hint, format string, args ...any) {
	shown := ""
	if file != "" {
		shown = c.s.shown(file)
	}
	c.found = append(c.found, Finding{serious, shown, fmt.Sprintf(format, args...), hint})
}

// tolerated may stand in the store beside the secrets.
var tolerated = []string{recipientsFile, lockFile, ".gitignore", ".gitattributes", "README", "README.md"}

func (c *checker) file(file string, e fs.DirEntry) {
	dir, base := path.Split(file)
	scope, ours := scopeOf(path.Clean(dir))
	name := strings.TrimSuffix(strings.TrimSuffix(base, sealedExt), noteExt)
	switch {
	case dir == "" && slices.Contains(tolerated, base):
		return
	case !e.Type().IsRegular():
		c.add(true, file, "remove it", "this is not a regular file")
	case strings.HasPrefix(base, tempPrefix):
		c.add(false, file, "remove it", "a change was cut off and left this")
	case ours && strings.HasSuffix(base, sealedExt) && isName(name):
		c.secret(Ref{name, scope})
	case ours && strings.HasSuffix(base, noteExt) && isName(name):
		if _, err := c.r.Lstat(path.Join(dir, name+sealedExt)); err != nil {
			c.add(false, file, "remove it", "this note has no secret beside it")
		}
	default:
		c.add(true, file, "move it away; a text that was here in clear is known to whoever has the project: make a new one", "this is not encrypted by us")
	}
}

func (c *checker) secret(ref Ref) {
	file := ref.file()
	data, err := c.s.sealed(ref)
	if err != nil {
		c.add(true, file, "", "%s", err)
		return
	}
	if _, err := stanzas(data); err != nil {
		c.add(true, file, advised(err), "%s", err)
		return
	}
	c.mode(file, 0o002)
	info, _ := c.s.info(c.r, ref) // the file was read just now
	c.note(info)
	n, _ := readNote(c.r, ref) // that it is bad was told
	if c.to != nil {
		if drift, err := c.to.drift(n, data); err == nil && drift != "" {
			c.add(true, file, "'holdfast secret rekey'", "%s", drift)
		}
	}
	if c.locked != nil {
		return
	}
	text, err := c.s.Keys.open(data)
	if err != nil {
		c.add(true, file, advised(err), "%s", err)
		return
	}
	if len(bytes.TrimSpace(text)) == 0 {
		c.add(true, file, "'holdfast secret set'", "there is no text in it")
	}
}

func (c *checker) note(info Info) {
	file := info.Ref.file()
	if info.Strange != "" {
		c.add(false, file, "'holdfast secret rekey' writes its note anew, 'holdfast secret set' its date", "%s", info.Strange)
	}
	switch {
	case info.Overdue && info.Set.IsZero():
		c.add(true, file, "'holdfast secret set' or 'holdfast secret generate'", "when it was set is not known")
	case info.Overdue:
		c.add(true, file, "'holdfast secret set' or 'holdfast secret generate'", "overdue: it was set on %s", info.Set.Format("2006-01-02"))
	}
}

// mode finds what others may do to a file. Reading what is encrypted is harmless, so
// that is only a remark; writing is not.
func (c *checker) mode(file string, bits fs.FileMode) {
	st, err := c.r.Stat(file)
	if err != nil {
		return
	}
	perm := st.Mode().Perm()
	switch {
	case perm&0o002 != 0:
		c.add(true, file, "chmod o-w "+c.s.shown(file), "everybody can write here")
	case perm&bits&0o077 != 0:
		c.add(false, file, "chmod 700 "+c.s.shown(file), "others can look into this folder; what is in it is encrypted")
	}
}

// identities finds identities that lie where the project is kept. The one at the usual
// place is left out: somebody's home may be the project.
func (c *checker) identities() {
	project, err := filepath.Abs(filepath.Dir(c.s.Dir))
	if err != nil {
		return
	}
	for _, name := range c.s.Keys.read {
		if at, err := filepath.Abs(name); err == nil && name != c.s.Keys.Default && strings.HasPrefix(at, project+"/") {
			c.found = append(c.found, Finding{true, name, "this identity is inside of the project, and is copied wherever that goes", "move it away"})
		}
	}
}

// Unused returns the names that stand nowhere in texts as whole words.
func (s *Store) Unused(texts map[string][]byte) (unused []string, err error) {
	all, err := s.Names()
	if err != nil {
		return nil, err
	}
	for _, name := range all {
		if !anyMentions(texts, name) {
			unused = append(unused, name)
		}
	}
	return unused, nil
}

func anyMentions(texts map[string][]byte, name string) bool {
	for _, text := range texts {
		if mentions(text, name) {
			return true
		}
	}
	return false
}

func mentions(text []byte, name string) bool {
	for at := 0; ; {
		i := bytes.Index(text[at:], []byte(name))
		if i < 0 {
			return false
		}
		start := at + i
		end := start + len(name)
		if (start == 0 || !isWord(text[start-1])) && (end == len(text) || !isWord(text[end])) {
			return true
		}
		at = start + 1
	}
}

func isWord(c byte) bool {
	return c == '_' || c == '-' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
