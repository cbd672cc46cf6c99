package secret

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// MinLength is the length in bytes below which a secret is refused: masking it
// would shred the output.
const MinLength = 4

// Redactor replaces secrets in everything that is written through it. It knows each
// secret as it is and in its base64, hexadecimal, URL, JSON and shell-quoted forms.
// It is the second line of defence; the first is that secrets do not get there.
type Redactor struct {
	mu    sync.RWMutex
	forms [][]byte // longest first
}

// Add makes secrets known. Those below [MinLength] are left out.
func (r *Redactor) Add(texts ...Text) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range texts {
		if len(t.Reveal()) < MinLength {
			continue
		}
		for _, form := range forms(t.Reveal()) {
			if !slices.ContainsFunc(r.forms, func(f []byte) bool { return string(f) == form }) {
				r.forms = append(r.forms, []byte(form))
			}
		}
	}
	slices.SortFunc(r.forms, func(a, b []byte) int { return len(b) - len(a) })
}

func forms(s string) []string {
	quoted, _ := json.Marshal(s) // a string always can
	all := []string{s,
		base64.StdEncoding.EncodeToString([]byte(s)), base64.RawStdEncoding.EncodeToString([]byte(s)),
		base64.URLEncoding.EncodeToString([]byte(s)), base64.RawURLEncoding.EncodeToString([]byte(s)),
		hex.EncodeToString([]byte(s)), url.QueryEscape(s), url.PathEscape(s), strings.Trim(string(quoted), `"`),
		strings.ReplaceAll(s, "'", `'\''`), strings.ReplaceAll(s, "'", `'"'"'`)}
	var out []string
	for _, form := range all {
		if len(form) >= MinLength && !slices.Contains(out, form) {
			out = append(out, form)
		}
	}
	// Tools print a text of several lines with a prefix on each.
	for line := range strings.SplitSeq(s, "\n") {
		if line = strings.TrimSpace(line); len(line) >= 8 && line != s && !slices.Contains(out, line) {
			out = append(out, line)
		}
	}
	return out
}

// String returns s with every secret masked.
func (r *Redactor) String(s string) string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, f := range r.forms {
		if strings.Contains(s, string(f)) {
			s = strings.ReplaceAll(s, string(f), Mask)
		}
	}
	return s
}

// Writer returns a writer that masks secrets even when a write cuts one in two. It
// holds back what may be the beginning of a secret until Close, which does not
// close w.
func (r *Redactor) Writer(w io.Writer) io.WriteCloser { return &redacting{r: r, w: w} }

type redacting struct {
	mu   sync.Mutex
	r    *Redactor
	w    io.Writer
	tail []byte
}

func (w *redacting) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	clean := []byte(w.r.String(string(append(w.tail, p...))))
	keep := w.r.begun(clean)
	out := clean[:len(clean)-keep]
	w.tail = bytes.Clone(clean[len(clean)-keep:])
	if len(out) > 0 {
		if _, err := w.w.Write(out); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// begun returns how many bytes at the end of b may be the beginning of a secret.
func (r *Redactor) begun(b []byte) int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	best := 0
	for _, f := range r.forms {
		for n := min(len(f)-1, len(b)); n > best; n-- {
			if bytes.HasPrefix(f, b[len(b)-n:]) {
				best = n
				break
			}
		}
	}
	return best
}

// Close writes what was held back.
func (w *redacting) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.tail) == 0 {
		return nil
	}
	_, err := io.WriteString(w.w, w.r.String(string(w.tail)))
	w.tail = nil
	return err
}
