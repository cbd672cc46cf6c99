package secrets

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
)

// Init makes the folder of the store and names its first recipients, and returns what
// it wrote. Those that are given are taken; without any, the identity at the usual
// place is, which is made if there is none. What is there already stays.
func (s *Store) Init(given []string) (wrote []string, err error) {
	var lines []string
	for _, line := range given {
		if _, _, _, err := parseRecipient(strings.TrimSpace(line)); err != nil {
			return nil, &Fault{Message: fmt.Sprintf("cannot take a recipient: %s", err), Hint: "an age recipient such as age1…, or an SSH public key"}
		}
		lines = append(lines, strings.TrimSpace(line))
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make %s: %w", s.Shown, plain(err))
	}
	r, err := s.root()
	if err != nil {
		return nil, err
	}
	defer r.Close() //nolint:errcheck // what was written is closed by itself
	if _, err := r.Lstat(recipientsFile); err == nil {
		if len(given) > 0 {
			return nil, &Fault{Message: s.shown(recipientsFile) + " is there already", Hint: "add the recipient to it, then 'holdfast secret rekey'"}
		}
		return nil, nil
	}
	if len(lines) == 0 {
		key, made, err := s.Keys.own()
		if err != nil {
			return wrote, err
		}
		if made {
			wrote = append(wrote, s.Keys.Default)
		}
		lines = []string{"# " + s.Who, key}
	}
	text := "# Whom the secrets here are encrypted to, one a line: age recipients and SSH public keys.\n" +
		"# After a change run 'holdfast secret rekey'. Who is taken out has seen the old values: set new ones.\n" + strings.Join(lines, "\n") + "\n"
	if err := replace(r, recipientsFile, []byte(text)); err != nil {
		return wrote, fmt.Errorf("cannot write %s: %w", s.shown(recipientsFile), plain(err))
	}
	return append(wrote, s.shown(recipientsFile)), nil
}

// own returns the recipient of the identity at the usual place, which is made if
// there is none.
func (k *Keyring) own() (key string, made bool, err error) {
	if k.Default == "" {
		return "", false, &Fault{Message: "there is no home folder to keep an identity in", Hint: "give --recipient"}
	}
	if _, err := os.Lstat(k.Default); errors.Is(err, fs.ErrNotExist) {
		return k.make()
	}
	ids, err := k.standard()
	if err != nil {
		return "", false, err
	}
	for _, id := range ids {
		switch id := id.(type) {
		case *age.X25519Identity:
			return id.Recipient().String(), false, nil
		case *age.HybridIdentity:
			return id.Recipient().String(), false, nil
		}
	}
	return "", false, &Fault{Message: "the identity " + k.Default + " does not tell its recipient", Hint: "give --recipient"}
}

// make writes a new identity for its owner's eyes only.
func (k *Keyring) make() (key string, made bool, err error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return "", false, err
	}
	dir := filepath.Dir(k.Default)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", false, fmt.Errorf("cannot make %s: %w", dir, plain(err))
	}
	// The folder may have been there for other things; what is in it now is not for others.
	if err := os.Chmod(dir, 0o700); err != nil {
		return "", false, fmt.Errorf("cannot close %s to others: %w", dir, plain(err))
	}
	r, err := os.OpenRoot(dir)
	if err != nil {
		return "", false, err
	}
	defer r.Close() //nolint:errcheck // what was written is closed by itself
	key = id.Recipient().String()
	if err := replace(r, filepath.Base(k.Default), []byte("# public key: "+key+"\n"+id.String()+"\n")); err != nil {
		return "", false, fmt.Errorf("cannot write %s: %w", k.Default, plain(err))
	}
	return key, true, nil
}
