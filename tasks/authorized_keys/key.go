package authorizedkeys

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// key is one line of an authorized_keys file (sshd(8)).
type key struct {
	options string
	kind    string // ssh-ed25519
	blob    string // base64
	comment string
}

// kinds are the types of keys that a line can begin with. A line that begins
// with anything else has options first.
var kinds = []string{
	"ssh-ed25519", "ssh-rsa", "ssh-dss",
	"ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
	"sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com",
	"ssh-ed25519-cert-v01@openssh.com", "ssh-rsa-cert-v01@openssh.com",
	"ecdsa-sha2-nistp256-cert-v01@openssh.com", "ecdsa-sha2-nistp384-cert-v01@openssh.com",
	"ecdsa-sha2-nistp521-cert-v01@openssh.com",
}

// parseKey reads one line.
func parseKey(line string) (key, error) {
	line = strings.TrimSpace(line)
	if strings.ContainsAny(line, "\n\r\x00") {
		return key{}, fmt.Errorf("a key is one line")
	}
	var k key
	first, rest := cutWord(line)
	if !slices.Contains(kinds, first) {
		k.options = first
		first, rest = cutWord(rest)
	}
	if !slices.Contains(kinds, first) {
		return key{}, fmt.Errorf("%q is no public key: want a type such as ssh-ed25519, base64 and a comment", shorten(line))
	}
	k.kind = first
	k.blob, k.comment = cutWord(rest)
	return k, k.check()
}

// check finds a key that was cut short or pasted under the wrong type: the blob
// is a row of texts with their length in front, the first of which is the type
// (RFC 4253, section 6.6). Certificates hold numbers too and are read no further.
func (k key) check() error {
	raw, err := base64.StdEncoding.DecodeString(k.blob)
	if err != nil {
		return fmt.Errorf("the key %q is not base64", shorten(k.blob))
	}
	for n := 0; n == 0 || len(raw) > 0; n++ {
		if len(raw) < 4 || uint64(binary.BigEndian.Uint32(raw)) > uint64(len(raw)-4) {
			return fmt.Errorf("the key %q is cut short", shorten(k.blob))
		}
		end := 4 + int(binary.BigEndian.Uint32(raw))
		if n == 0 && string(raw[4:end]) != k.kind {
			return fmt.Errorf("the key %q is not one of type %s", shorten(k.blob), k.kind)
		}
		if n == 0 && end == len(raw) {
			return fmt.Errorf("the key %q is cut short", shorten(k.blob))
		}
		if strings.Contains(k.kind, "-cert-") {
			return nil
		}
		raw = raw[end:]
	}
	return nil
}

// same reports whether two lines hold the same key, whatever their options and comments.
func (k key) same(other key) bool { return k.kind == other.kind && k.blob == other.blob }

// line returns the key as the file holds it.
func (k key) line() string {
	var words []string
	for _, w := range []string{k.options, k.kind, k.blob, k.comment} {
		if w != "" {
			words = append(words, w)
		}
	}
	return strings.Join(words, " ")
}

// String names the key as ssh-keygen -l does.
func (k key) String() string {
	raw, _ := base64.StdEncoding.DecodeString(k.blob)
	sum := sha256.Sum256(raw)
	name := k.kind + " SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
	if k.options != "" {
		name = k.options + " " + name
	}
	if k.comment != "" {
		name += " " + k.comment
	}
	return name
}

// cutWord cuts at the first blank that is not inside double quotes.
func cutWord(s string) (word, rest string) {
	quoted, escaped := false, false
	for i, c := range s {
		switch {
		case escaped:
			escaped = false
		case c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		case (c == ' ' || c == '\t') && !quoted:
			return s[:i], strings.TrimLeft(s[i:], " \t")
		}
	}
	return s, ""
}

func shorten(s string) string {
	if len(s) > 24 {
		return s[:24] + "…"
	}
	return s
}
