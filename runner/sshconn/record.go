package sshconn

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // the format of known_hosts prescribes it
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
)

// appendKey records the key of first contact, unless the host became known in
// the meantime, perhaps by another key.
func appendKey(r *route, port int, key ssh.PublicKey) error {
	if cert, ok := key.(*ssh.Certificate); ok {
		key = cert.Key
	}
	file := r.knownHosts[0]
	unlock, err := openFolder(file)
	if err != nil {
		return fmt.Errorf("cannot record it: %w", err)
	}
	defer unlock()
	ring, err := readKeyring(r.knownHosts)
	if err != nil {
		return err
	}
	if err := ring.judge(r, port, key); !knownhosts.IsHostUnknown(err) {
		return err
	}
	if err := appendLines(file, []string{knownhosts.Line([]string{r.address(port)}, key)}); err != nil {
		return fmt.Errorf("cannot record it: %w", err)
	}
	return nil
}

func openFolder(file string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, err
	}
	return lockFolder(file)
}

// appendLines adds whole lines in one write.
func appendLines(file string, lines []string) error {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	text := strings.Join(lines, "\n") + "\n"
	info, err := f.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = fmt.Errorf("%s is not a file", file)
	case info.Size() > 0:
		last := make([]byte, 1)
		if _, err = f.ReadAt(last, info.Size()-1); err == nil && last[0] != '\n' {
			text = "\n" + text
		}
	}
	if err == nil {
		_, err = f.WriteString(text)
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// Record adds scanned keys to a known_hosts file. What the file has already is
// left alone. Keys that differ from what the file has for a host and kind of key
// are refused, all or nothing, unless replace is set; then the lines that differ
// are taken out for that address. Lines with patterns are never touched. An empty
// file means the one that the scan names.
func Record(file string, keys []HostKeyInfo, replace bool) error {
	if len(keys) == 0 {
		return nil
	}
	if file == "" {
		file = keys[0].File
	}
	file, err := homePath(file)
	if err != nil {
		return err
	}
	if real, err := filepath.EvalSymlinks(file); err == nil {
		file = real
	}
	unlock, err := openFolder(file)
	if err != nil {
		return fmt.Errorf("cannot record host keys: %w", err)
	}
	defer unlock()
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot record host keys: %w", err)
	}
	kept, add, err := merge(file, text, keys, replace)
	if err != nil {
		return err
	}
	switch {
	case !bytes.Equal(kept, text):
		err = replaceFile(file, join(kept, add), modeOf(file))
	case len(add) > 0:
		err = appendLines(file, add)
	}
	if err != nil {
		return fmt.Errorf("cannot record host keys: %w", err)
	}
	return nil
}

func modeOf(file string) fs.FileMode {
	if info, err := os.Stat(file); err == nil {
		return info.Mode().Perm()
	}
	return 0o600
}

func join(text []byte, lines []string) []byte {
	if len(text) > 0 && text[len(text)-1] != '\n' {
		text = append(text, '\n')
	}
	for _, l := range lines {
		text = append(text, l+"\n"...)
	}
	return text
}

// merge returns what stays of a file and the lines to add to it.
func merge(file string, text []byte, keys []HostKeyInfo, replace bool) (kept []byte, add []string, err error) {
	lines := bytes.SplitAfter(text, []byte("\n"))
	done := map[string]bool{}
	for _, k := range keys {
		if k.key == nil {
			return nil, nil, errors.New("cannot record a host key that was not scanned")
		}
		if k.Trust == TrustChanged && !replace {
			return nil, nil, k.changed(file)
		}
		if done[k.Address] {
			continue
		}
		done[k.Address] = true
		e := entriesFor(lines, k.Address, keys)
		if len(e.differing) > 0 && !replace {
			return nil, nil, k.changed(file)
		}
		for _, i := range e.differing {
			lines[i] = without(lines[i], knownhosts.Normalize(k.Address))
		}
		add = append(add, e.missing...)
	}
	return bytes.Join(lines, nil), add, nil
}

// entries compare the lines that name an address with the keys it offers.
type entries struct {
	differing []int    // lines with another key than the offered one of their kind
	missing   []string // offered keys that no line has
}

// entriesFor treats a host that is known by none of its offered keys as changed
// altogether, whatever the kinds of key.
func entriesFor(lines [][]byte, address string, keys []HostKeyInfo) entries {
	offered := map[string]HostKeyInfo{}
	for _, k := range keys {
		if k.Address == address {
			offered[k.Type] = k
		}
	}
	var e entries
	var named []int
	present := map[string]bool{}
	for i, line := range lines {
		old, ok := entryFor(line, knownhosts.Normalize(address))
		if !ok {
			continue
		}
		named = append(named, i)
		k, ok := offered[old.Type()]
		switch {
		case !ok:
		case bytes.Equal(old.Marshal(), k.key.Marshal()):
			present[k.Type] = true
		default:
			e.differing = append(e.differing, i)
		}
	}
	if len(present) == 0 {
		e.differing = named
	}
	for _, k := range keys {
		if k.Address == address && !present[k.Type] {
			e.missing = append(e.missing, k.Line)
		}
	}
	return e
}

// entryFor returns the key of a line that names an address, without patterns and
// markers.
func entryFor(line []byte, name string) (ssh.PublicKey, bool) {
	marker, hosts, key, _, _, err := ssh.ParseKnownHosts(line)
	if err != nil || marker != "" {
		return nil, false
	}
	for _, h := range hosts {
		if h == name || hashedName(h, name) {
			return key, true
		}
	}
	return nil, false
}

// hashedName says whether |1|salt|hash is the hash of a name.
func hashedName(h, name string) bool {
	parts := strings.Split(h, "|")
	if len(parts) != 4 || parts[0] != "" || parts[1] != "1" {
		return false
	}
	salt, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil {
		return false
	}
	want, err := base64.StdEncoding.DecodeString(parts[3])
	if err != nil {
		return false
	}
	mac := hmac.New(sha1.New, salt)
	mac.Write([]byte(name))
	return hmac.Equal(mac.Sum(nil), want)
}

// without takes an address out of a line, or the line out of the file if it
// named no other.
func without(line []byte, name string) []byte {
	trimmed := bytes.TrimLeft(line, " \t")
	end := bytes.IndexAny(trimmed, " \t")
	var left []string
	for _, h := range strings.Split(string(trimmed[:end]), ",") {
		if h != name && !hashedName(h, name) {
			left = append(left, h)
		}
	}
	if len(left) == 0 {
		return nil
	}
	return append([]byte(strings.Join(left, ",")), trimmed[end:]...)
}
