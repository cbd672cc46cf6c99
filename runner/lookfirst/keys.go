package lookfirst

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"path"
	"strings"

	"holdfast/tasks/task"
)

// serverConf returns the words of each line of the SSH server's settings, keywords in
// small letters, drop-ins first because the first value counts.
func serverConf(ctx context.Context, r task.Reader) (lines [][]string, err error) {
	files, err := folder(ctx, r, "/etc/ssh/sshd_config.d", func(name string) bool { return strings.HasSuffix(name, ".conf") })
	if err != nil {
		return nil, err
	}
	main, err := text(ctx, r, "/etc/ssh/sshd_config")
	if err != nil {
		return nil, err
	}
	for _, f := range append(files, main) {
		for l := range strings.Lines(f) {
			words := strings.FieldsFunc(l, func(c rune) bool { return strings.ContainsRune(" \t\r\n=\"", c) })
			if len(words) > 1 && words[0][0] != '#' {
				words[0] = strings.ToLower(words[0])
				lines = append(lines, words)
			}
		}
	}
	return lines, nil
}

// says reports whether a line of the settings is about a keyword, and with a value that counts.
func says(conf [][]string, keyword string, counts func(value string) bool) bool {
	for _, l := range conf {
		if l[0] == keyword && counts(strings.ToLower(l[1])) {
			return true
		}
	}
	return false
}

// lookAtKeys gathers the keys that open an account. Where the settings name other files
// or programs for keys, nobody is sure of all.
func (w *way) lookAtKeys(ctx context.Context, r task.Reader, u *task.User, conf [][]string) error {
	given := func(value string) bool { return value != "none" }
	w.sure = !says(conf, "authorizedkeysfile", func(string) bool { return true }) && !says(conf, "authorizedkeyscommand", given) && !says(conf, "trustedusercakeys", given)
	strict := !says(conf, "strictmodes", func(value string) bool { return value == "no" })
	dir := path.Join(u.Home, ".ssh")
	for _, name := range []string{"authorized_keys", "authorized_keys2"} {
		file := path.Join(dir, name)
		t, err := text(ctx, r, file)
		if err != nil {
			return err
		}
		keys := fingerprints(t)
		if len(keys) == 0 {
			continue
		}
		w.keys = append(w.keys, keys...)
		for _, p := range []string{u.Home, dir, file} {
			if !strict || w.strict != "" {
				break
			}
			if w.strict, err = loose(ctx, r, p, u); err != nil {
				return err
			}
		}
	}
	return nil
}

// loose says what StrictModes of sshd_config(5) finds wrong with a path.
func loose(ctx context.Context, r task.Reader, p string, u *task.User) (string, error) {
	info, err := r.Stat(ctx, p)
	switch {
	case err != nil || !info.Exists() || info.Kind == task.KindLink:
		return "", err
	case info.Owner != u.Name && info.Owner != "root":
		return fmt.Sprintf("%s would belong to %s", p, info.Owner), nil
	case info.Mode&0o022 != 0:
		return fmt.Sprintf("others could write to %s, which would have the mode %s", p, info.Mode), nil
	}
	return "", nil
}

// fingerprints returns those of the keys in the text of an authorized_keys file.
func fingerprints(text string) (out []string) {
	for l := range strings.Lines(text) {
		if l = strings.TrimSpace(l); l == "" || l[0] == '#' {
			continue
		}
		for word := range strings.FieldsSeq(l) {
			// Every key begins with the length of the name of its type.
			if !strings.HasPrefix(word, "AAAA") {
				continue
			}
			if blob, err := base64.StdEncoding.DecodeString(word); err == nil {
				sum := sha256.Sum256(blob)
				out = append(out, "SHA256:"+base64.RawStdEncoding.EncodeToString(sum[:]))
				break
			}
		}
	}
	return out
}
