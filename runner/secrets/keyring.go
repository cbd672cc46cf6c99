package secrets

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"

	"holdfast/tasks/secret"
)

// Keyring finds the identities that open the store. They are read when a secret is
// first decrypted.
type Keyring struct {
	// Files are the identity files that were asked for. Without one, Default is used
	// where it exists, and so are the SSH keys.
	Files   []string
	Default string
	SSH     []string
	// Passphrase asks for the passphrase of a protected identity file. Without it
	// there is nobody to ask.
	Passphrase func(file string) (secret.Text, error)

	once sync.Once
	ids  []age.Identity
	err  error
	read []string // the files that identities came from
}

const (
	ageMagic  = "age-encryption.org/v1"
	armorHead = armor.Header
	sshHead   = "-----BEGIN "
)

// Unlock reads the identities, so that what is wrong with them is known early.
func (k *Keyring) Unlock() error {
	k.once.Do(func() { k.err = k.load() })
	return k.err
}

func (k *Keyring) load() error {
	for _, name := range k.Files {
		ids, err := k.identities(name)
		if err != nil {
			return err
		}
		k.add(name, ids)
	}
	if len(k.Files) > 0 {
		return nil
	}
	if k.Default != "" {
		ids, err := k.standard()
		if err != nil {
			return err
		}
		k.add(k.Default, ids)
	}
	for _, name := range k.SSH {
		// A key that is not there or has a passphrase is none for us; SSH itself does
		// not ask for it either.
		if ids, err := k.identities(name); err == nil {
			k.add(name, ids)
		}
	}
	if len(k.ids) == 0 {
		return &Fault{Message: errNoIdentity.Error(), Hint: "name one with --identity FILE or HOLDFAST_IDENTITY" + k.elsewhere(), cause: errNoIdentity}
	}
	return nil
}

var errNoIdentity = errors.New("there is no identity to decrypt secrets with")

func (k *Keyring) elsewhere() string {
	if k.Default == "" {
		return ""
	}
	return ", or put it at " + k.Default + "; 'holdfast secret init' makes one"
}

func (k *Keyring) add(name string, ids []age.Identity) {
	k.ids = append(k.ids, ids...)
	if len(ids) > 0 {
		k.read = append(k.read, name)
	}
}

// standard reads the identity of the usual place. Its folder is ours, so nobody else
// has any business there.
func (k *Keyring) standard() ([]age.Identity, error) {
	dir := filepath.Dir(k.Default)
	ids, err := k.identities(k.Default)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if st, serr := os.Stat(dir); serr == nil && st.Mode().Perm()&0o077 != 0 {
		return nil, &Fault{Message: fmt.Sprintf("others can read %s, which holds the identity", dir), Hint: "chmod 700 " + dir}
	}
	return ids, err
}

// identities reads one identity file.
func (k *Keyring) identities(name string) ([]age.Identity, error) {
	data, err := readIdentity(name)
	if err != nil {
		var f *Fault
		if errors.As(err, &f) {
			return nil, f
		}
		return nil, &Fault{Message: fmt.Sprintf("cannot read the identity %s: %s", name, plain(err)), cause: err}
	}
	ids, err := k.parse(name, data)
	if err != nil {
		var f *Fault
		if errors.As(err, &f) {
			return nil, &Fault{Message: fmt.Sprintf("cannot use the identity %s: %s", name, f.Message), Hint: f.Hint}
		}
		return nil, &Fault{Message: fmt.Sprintf("cannot use the identity %s: %s", name, err)}
	}
	return ids, nil
}

// readIdentity reads a file that must be for its owner's eyes only, from a folder
// where nobody else can put another in its place.
func readIdentity(name string) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	st, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case st.Mode().IsRegular() && st.Mode().Perm()&0o077 != 0:
		return nil, &Fault{Message: fmt.Sprintf("others can read the identity %s", name), Hint: "chmod 600 " + name}
	case st.Mode().IsRegular() && !ours(st):
		return nil, &Fault{Message: fmt.Sprintf("the identity %s belongs to another account", name), Hint: "copy it, or give it to the account that runs holdfast"}
	}
	dir := filepath.Dir(name)
	if in, err := os.Stat(dir); err == nil && in.Mode().Perm()&0o022 != 0 && in.Mode()&fs.ModeSticky == 0 {
		return nil, &Fault{Message: fmt.Sprintf("others can write to %s, which holds the identity", dir), Hint: "chmod go-w " + dir}
	}
	return bounds(f, maxSize)
}

// ours reports whether a file belongs to the account that we are, or to root.
func ours(st fs.FileInfo) bool {
	sys, ok := st.Sys().(*syscall.Stat_t)
	return ok && (sys.Uid == 0 || int(sys.Uid) == os.Geteuid())
}

func (k *Keyring) parse(name string, data []byte) ([]age.Identity, error) {
	text := bytes.TrimSpace(data)
	switch {
	case bytes.HasPrefix(text, []byte(ageMagic)), bytes.HasPrefix(text, []byte(armorHead)):
		return k.protected(name, data)
	case bytes.HasPrefix(text, []byte(sshHead)):
		id, err := agessh.ParseIdentity(data)
		if err != nil && strings.Contains(err.Error(), "passphrase protected") {
			return nil, &Fault{Message: "it is an SSH key with a passphrase", Hint: "use an age identity, which may have one: age-keygen | age -p"}
		}
		if err != nil {
			return nil, errors.New("it is no SSH key that age can use: want ssh-ed25519 or ssh-rsa")
		}
		return []age.Identity{id}, nil
	case bytes.Contains(text, []byte("AGE-PLUGIN-")):
		return nil, errors.New("identities of plugins are not supported")
	}
	ids, err := age.ParseIdentities(bytes.NewReader(data))
	if err != nil {
		// The library's own words may hold a line of the file.
		return nil, &Fault{Message: "it is no identity", Hint: "want lines such as AGE-SECRET-KEY-1…, as age-keygen writes them, or an SSH key"}
	}
	return ids, nil
}

// protected reads an identity file that is encrypted with a passphrase.
func (k *Keyring) protected(name string, data []byte) ([]age.Identity, error) {
	kinds, err := stanzas(data)
	switch {
	case err != nil:
		return nil, err
	case len(kinds) != 1 || kinds[0] != "scrypt":
		return nil, &Fault{Message: "it is encrypted to recipients, and not with a passphrase", Hint: "decrypt it with age first"}
	case k.Passphrase == nil:
		return nil, &Fault{Message: "it has a passphrase, and there is nobody to ask for it", Hint: "run on a terminal, or use an identity without one"}
	}
	pass, err := k.Passphrase(name)
	if err != nil {
		return nil, err
	}
	id, err := age.NewScryptIdentity(pass.Reveal())
	if err != nil {
		return nil, err
	}
	plain, err := decrypt(data, maxSize, id)
	if err != nil {
		return nil, &Fault{Message: "the passphrase is wrong, or the file is damaged"}
	}
	ids, err := age.ParseIdentities(bytes.NewReader(plain))
	if err != nil {
		return nil, errors.New("what the passphrase opens is no identity")
	}
	return ids, nil
}

// open decrypts what was encrypted to one of the identities.
func (k *Keyring) open(data []byte) ([]byte, error) {
	kinds, err := stanzas(data)
	if err != nil {
		return nil, err
	}
	if len(kinds) == 1 && kinds[0] == "scrypt" {
		return nil, &Fault{Message: "it is encrypted with a passphrase, and not to recipients", Hint: "set it again with 'holdfast secret set'"}
	}
	if err := k.Unlock(); err != nil {
		return nil, err
	}
	out, err := decrypt(data, maxSize, k.ids...)
	var none *age.NoIdentityMatchError
	switch {
	case errors.As(err, &none):
		return nil, &Fault{Message: "it is encrypted to others: no identity of ours opens it (" + strings.Join(k.read, ", ") + ")",
			Hint: "give --identity FILE, or let somebody who can open it run 'holdfast secret rekey'"}
	case errors.Is(err, errTooLarge):
		return nil, err
	case err != nil:
		return nil, errors.New("it is damaged")
	}
	return out, nil
}

var errTooLarge = fmt.Errorf("what is in it is larger than %d KiB", maxSize>>10)

func decrypt(data []byte, limit int64, ids ...age.Identity) ([]byte, error) {
	in, err := age.Decrypt(dearmored(data), ids...)
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err == nil && int64(len(out)) > limit {
		err = errTooLarge
	}
	return out, err
}

func dearmored(data []byte) io.Reader {
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte(armorHead)) {
		return armor.NewReader(bytes.NewReader(data))
	}
	return bytes.NewReader(data)
}

// stanzas returns the kinds of recipients that the header of an age file names, such
// as X25519 and ssh-ed25519.
func stanzas(data []byte) ([]string, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, &Fault{Message: "it is empty", Hint: "set it again with 'holdfast secret set'"}
	}
	head, err := age.ExtractHeader(dearmored(data))
	if err != nil {
		return nil, &Fault{Message: "it is no age file, or a damaged one", Hint: "take the last good one from version control, or set it again with 'holdfast secret set'"}
	}
	var out []string
	in := bufio.NewScanner(bytes.NewReader(head))
	for in.Scan() {
		// Stanzas of that kind mean nothing: they keep readers from assuming too much.
		if words := strings.Fields(in.Text()); len(words) > 1 && words[0] == "->" && !strings.HasSuffix(words[1], "-grease") {
			out = append(out, words[1])
		}
	}
	return out, nil
}
