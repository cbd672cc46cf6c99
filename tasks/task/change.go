package task

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/aymanbagabas/go-udiff"
)

// Kind of a change.
const (
	Create = "create"
	Update = "update"
	Delete = "delete"
	Act    = "act" // something happens that is not a state: a restart, a command
)

// Change is one attribute that differs from what the playbook asks for.
type Change struct {
	Attr   string `json:"attr"` // the field's name in the playbook
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
	Kind   string `json:"kind"`
	// Diff is a unified diff, for content.
	Diff string `json:"diff,omitempty"`
	// Sensitive means that Before, After and Diff were withheld.
	Sensitive bool `json:"sensitive,omitempty"`
}

// Set returns an update of attr, for the usual case.
func Set(attr, before, after string) Change {
	return Change{Attr: attr, Before: before, After: after, Kind: Update}
}

// MaxText is the size up to which the text of a file is kept for a diff.
const MaxText = 64 << 10

// Content describes the content of a file: digest and size always, the text only
// while it is short and printable. The framework drops the text before a state is
// stored or registered.
type Content struct {
	Digest string `json:"digest" yaml:"digest" doc:"SHA-256 of the content in hex."`
	Size   int64  `json:"size" yaml:"size" doc:"Size in bytes."`
	Text   string `json:"-" yaml:"-"`
	IsText bool   `json:"-" yaml:"-"`
}

// ContentOf describes data.
func ContentOf(data []byte) Content {
	c := Content{Digest: DigestOf(data), Size: int64(len(data))}
	if len(data) <= MaxText && Printable(data) {
		c.Text, c.IsText = string(data), true
	}
	return c
}

// DigestOf returns the SHA-256 of data in hex.
func DigestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Printable reports whether data is UTF-8 text without control characters other
// than tab and line ends.
func Printable(data []byte) bool {
	if !utf8.Valid(data) {
		return false
	}
	for _, r := range string(data) {
		if unicode.IsControl(r) && r != '\t' && r != '\n' && r != '\r' {
			return false
		}
	}
	return true
}

// ContentChange returns the change from before to after as a unified diff where
// both are text, and as sizes where not. An empty Digest means that the file is not
// there, or will not be.
func ContentChange(attr, path string, before, after Content) Change {
	c := Change{Attr: attr, Kind: Update, Before: before.summary(), After: after.summary()}
	switch {
	case before.Digest == "":
		c.Kind = Create
	case after.Digest == "":
		c.Kind = Delete
	}
	if (before.IsText || before.Digest == "") && (after.IsText || after.Digest == "") {
		c.Diff = udiff.Unified(path, path, before.Text, after.Text)
	}
	return c
}

func (c Content) summary() string {
	if c.Digest == "" {
		return ""
	}
	return strconv.FormatInt(c.Size, 10) + " bytes, sha256 " + c.Digest[:min(12, len(c.Digest))]
}

// ErrUnknown is wrapped by what a Reader answers in a plan when the answer depends
// on something that has not happened yet.
var ErrUnknown = errors.New("not known yet")

// Unknownf returns an error that wraps [ErrUnknown] and says why.
func Unknownf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUnknown, fmt.Sprintf(format, args...))
}

// NotSettled is the failure of a task whose second look still finds a difference.
type NotSettled struct{ Changes []Change }

func (e *NotSettled) Error() string {
	var attrs []string
	for _, c := range e.Changes {
		if c.Sensitive {
			attrs = append(attrs, c.Attr+" differs")
			continue
		}
		attrs = append(attrs, fmt.Sprintf("%s is %q, want %q", c.Attr, c.Before, c.After))
	}
	return "did not settle: after the change " + strings.Join(attrs, ", ")
}
