package secrets

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"
)

// recipients are those that secrets are encrypted to.
type recipients struct {
	keys  []string // as they are written, without comments
	kinds []string // of their stanzas, sorted
	list  []age.Recipient
}

const maxRecipients = 64 << 10

// recipients reads the file of those.
func (s *Store) recipients(r *os.Root) (*recipients, error) {
	shown := s.shown(recipientsFile)
	data, err := readRegular(r, recipientsFile, maxRecipients)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Fault{Message: "nobody is named in " + shown + ", so nobody could decrypt a secret", Hint: "'holdfast secret init' makes an identity and writes its recipient there", cause: err}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", shown, plain(err))
	}
	if st, err := r.Stat(recipientsFile); err == nil && st.Mode().Perm()&0o002 != 0 {
		return nil, &Fault{Message: "everybody can write to " + shown + ", and so make secrets readable for themselves", Hint: "chmod 644 " + shown}
	}
	out, err := parseRecipients(data)
	if err != nil {
		var f *Fault
		if errors.As(err, &f) {
			return nil, &Fault{Message: shown + ":" + f.Message, Hint: f.Hint}
		}
		return nil, fmt.Errorf("%s: %w", shown, err)
	}
	return out, nil
}

func parseRecipients(data []byte) (*recipients, error) {
	out := &recipients{}
	in := bufio.NewScanner(bytes.NewReader(data))
	in.Buffer(nil, maxRecipients)
	for n := 1; in.Scan(); n++ {
		line := strings.TrimSpace(in.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, kind, recipient, err := parseRecipient(line)
		if err != nil {
			return nil, &Fault{Message: fmt.Sprintf("%d: %s", n, err), Hint: "one a line: an age recipient such as age1…, or an SSH public key"}
		}
		if slices.Contains(out.keys, key) {
			continue
		}
		out.keys, out.kinds, out.list = append(out.keys, key), append(out.kinds, kind), append(out.list, recipient)
	}
	if err := in.Err(); err != nil {
		return nil, err
	}
	if len(out.list) == 0 {
		return nil, &Fault{Message: "1: nobody is named", Hint: "one a line: an age recipient such as age1…, or an SSH public key"}
	}
	slices.Sort(out.kinds)
	return out, nil
}

// parseRecipient reads one recipient. Its key is what tells it from others: without
// the comment of an SSH key.
func parseRecipient(line string) (key, kind string, r age.Recipient, err error) {
	words := strings.Fields(line)
	switch {
	case strings.HasPrefix(line, "AGE-SECRET-KEY-"), strings.HasPrefix(line, sshHead):
		return "", "", nil, errors.New("this is an identity, which must stay secret, and no recipient: take it out, make another one and rekey")
	case strings.HasPrefix(line, "ssh-"):
		if r, err = agessh.ParseRecipient(line); err != nil || len(words) < 2 {
			return "", "", nil, errors.New("this is no SSH public key that age can use: want ssh-ed25519 or ssh-rsa")
		}
		return words[0] + " " + words[1], words[0], r, nil
	}
	key = words[0]
	list, err := age.ParseRecipients(strings.NewReader(key))
	if err != nil || len(list) != 1 {
		return "", "", nil, errors.New("this is no recipient")
	}
	kind = "X25519"
	if _, hybrid := list[0].(*age.HybridRecipient); hybrid {
		kind = "mlkem768x25519"
	}
	return key, kind, list[0], nil
}

// seal encrypts a text to all recipients. The result is text too, which version
// control can show and keep.
func (r *recipients) seal(text string) ([]byte, error) {
	var out bytes.Buffer
	a := armor.NewWriter(&out)
	w, err := age.Encrypt(a, r.list...)
	if err != nil {
		return nil, fmt.Errorf("cannot encrypt to the recipients: %w", err)
	}
	if _, err = w.Write([]byte(text)); err == nil {
		err = errors.Join(w.Close(), a.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("cannot encrypt: %w", err)
	}
	return out.Bytes(), nil
}

// drift compares whom a file was encrypted to with whom it should be: by its note,
// and by the header, which cannot be wrong about the number of each kind.
func (r *recipients) drift(n *note, data []byte) (string, error) {
	kinds, err := stanzas(data)
	if err != nil {
		return "", err
	}
	if n != nil {
		for _, key := range n.Recipients {
			if !slices.Contains(r.keys, key) {
				return "it is also encrypted to " + short(key) + ", who is no recipient any more", nil
			}
		}
		for _, key := range r.keys {
			if !slices.Contains(n.Recipients, key) {
				return "it is not encrypted to " + short(key), nil
			}
		}
	}
	slices.Sort(kinds)
	if !slices.Equal(kinds, r.kinds) {
		return fmt.Sprintf("it is encrypted to %d recipients (%s), and there are %d (%s)", len(kinds), strings.Join(kinds, ", "), len(r.kinds), strings.Join(r.kinds, ", ")), nil
	}
	return "", nil
}

// short names a recipient without all of its key.
func short(key string) string {
	if kind, rest, ssh := strings.Cut(key, " "); ssh {
		return kind + " …" + rest[max(0, len(rest)-12):]
	}
	if len(key) > 24 {
		return key[:16] + "…"
	}
	return key
}
