package task

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// JSON is a value of a JSON document that keeps what a person would want kept: the
// order of keys and the way in which numbers are written.
type JSON struct {
	kind   byte // { [ and for scalars s
	scalar any  // nil, bool, json.Number or string
	keys   []string
	items  []*JSON // of an array, or the values of keys
}

// maxJSONDepth bounds how deep documents are nested.
const maxJSONDepth = 200

// ParseJSON reads one JSON value. A key that comes twice is an error: nobody knows
// which of them counts.
func ParseJSON(data []byte) (*JSON, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := readValue(d, 0)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows after its end")
		}
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("it ends early")
	}
	if err != nil {
		return nil, fmt.Errorf("not JSON, at byte %d: %w", d.InputOffset(), err)
	}
	return v, nil
}

func readValue(d *json.Decoder, depth int) (*JSON, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	delim, ok := t.(json.Delim)
	if !ok {
		return &JSON{kind: 's', scalar: t}, nil
	}
	if depth > maxJSONDepth {
		return nil, errors.New("it is nested too deep")
	}
	v := &JSON{kind: byte(delim)}
	for d.More() {
		if v.kind == '{' {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			if v.at(key.(string)) >= 0 { // the decoder lets nothing else through
				return nil, fmt.Errorf("the key %q comes twice", key)
			}
			v.keys = append(v.keys, key.(string))
		}
		item, err := readValue(d, depth+1)
		if err != nil {
			return nil, err
		}
		v.items = append(v.items, item)
	}
	_, err = d.Token()
	return v, err
}

// StringJSON returns a string.
func StringJSON(s string) *JSON { return &JSON{kind: 's', scalar: s} }

// ObjectJSON returns an object without keys.
func ObjectJSON() *JSON { return &JSON{kind: '{'} }

// IsObject reports whether the value has keys.
func (v *JSON) IsObject() bool { return v.kind == '{' }

func (v *JSON) isNull() bool { return v.kind == 's' && v.scalar == nil }

func (v *JSON) at(key string) int {
	for i, k := range v.keys {
		if k == key {
			return i
		}
	}
	return -1
}

// Equal reports whether two values mean the same: keys in any order, numbers in any
// form.
func (v *JSON) Equal(o *JSON) bool {
	if v == nil || o == nil || v.kind != o.kind || len(v.items) != len(o.items) {
		return v == o
	}
	if v.kind == 's' {
		return v.scalar == o.scalar || sameNumber(v.scalar, o.scalar)
	}
	for i := range v.items {
		j := i
		if v.kind == '{' {
			if j = o.at(v.keys[i]); j < 0 {
				return false
			}
		}
		if !v.items[i].Equal(o.items[j]) {
			return false
		}
	}
	return true
}

// sameNumber compares numbers that are short enough for a float64 to hold them exactly.
func sameNumber(a, b any) bool {
	x, ok := a.(json.Number)
	y, also := b.(json.Number)
	if !ok || !also || len(x) > 15 || len(y) > 15 {
		return false
	}
	f, ferr := x.Float64()
	g, gerr := y.Float64()
	return ferr == nil && gerr == nil && f == g
}

// JSONPath takes a path apart: a.b.0, or /a/b/0 (RFC 6901) where keys hold dots.
func JSONPath(text string) ([]string, error) {
	if text == "" || text == "/" {
		return nil, errors.New("want a path such as a.b or /a/b")
	}
	if pointer, ok := strings.CutPrefix(text, "/"); ok {
		parts := strings.Split(pointer, "/")
		for i := range parts {
			parts[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(parts[i])
		}
		return parts, nil
	}
	parts := strings.Split(text, ".")
	for _, p := range parts {
		if p == "" {
			return nil, fmt.Errorf("%q has an empty part: a key with dots is written as /a.b", text)
		}
	}
	return parts, nil
}

// Get returns the value at a path, or nil.
func (v *JSON) Get(path []string) *JSON {
	for _, part := range path {
		i := v.index(part)
		if i < 0 {
			return nil
		}
		v = v.items[i]
	}
	return v
}

func (v *JSON) index(part string) int {
	switch v.kind {
	case '{':
		return v.at(part)
	case '[':
		if n, err := strconv.ParseUint(part, 10, 31); err == nil && int(n) < len(v.items) {
			return int(n)
		}
	}
	return -1
}

// Set puts a value at a path and makes the objects on the way.
func (v *JSON) Set(path []string, to *JSON) error {
	for n, part := range path {
		last := n == len(path)-1
		i := v.index(part)
		switch {
		case i >= 0 && last && v.items[i].Equal(to): // it stays as it is written
		case i >= 0 && last:
			v.items[i] = to
		case i >= 0:
			v = v.items[i]
			continue
		case v.kind != '{':
			return fmt.Errorf("there is no place for %s: what is there is no object", strings.Join(path[:n+1], "."))
		default:
			next := to
			if !last {
				next = ObjectJSON()
			}
			v.keys, v.items = append(v.keys, part), append(v.items, next)
			v = next
		}
	}
	return nil
}

// Remove removes what is at a path.
func (v *JSON) Remove(path []string) {
	parent := v.Get(path[:len(path)-1])
	if parent == nil {
		return
	}
	if i := parent.index(path[len(path)-1]); i >= 0 {
		parent.items = append(parent.items[:i:i], parent.items[i+1:]...)
		if parent.kind == '{' {
			parent.keys = append(parent.keys[:i:i], parent.keys[i+1:]...)
		}
	}
}

// Merge puts another value over this one (RFC 7396): objects key by key, null removes,
// all else replaces.
func (v *JSON) Merge(patch *JSON) *JSON {
	switch {
	case v != nil && v.Equal(patch):
		return v // as it is written
	case patch.kind != '{':
		return patch
	}
	out := ObjectJSON()
	if v != nil && v.kind == '{' {
		out.keys, out.items = append(out.keys, v.keys...), append(out.items, v.items...)
	}
	for i, key := range patch.keys {
		item := patch.items[i]
		at := out.at(key)
		switch {
		case item.isNull():
			out.Remove([]string{key})
		case at >= 0:
			out.items[at] = out.items[at].Merge(item)
		default:
			var none *JSON
			out.keys, out.items = append(out.keys, key), append(out.items, none.Merge(item))
		}
	}
	return out
}

// Differences returns the paths of what differs between two documents, deepest
// objects only, in the order of the new one; what is gone comes last.
func (v *JSON) Differences(o *JSON) [][]string {
	var out [][]string
	v.differ(o, nil, &out)
	return out
}

func (v *JSON) differ(o *JSON, path []string, out *[][]string) {
	if v.Equal(o) {
		return
	}
	if v == nil || o == nil || v.kind != '{' || o.kind != '{' {
		*out = append(*out, append([]string{}, path...))
		return
	}
	for i, key := range o.keys {
		v.Get([]string{key}).differ(o.items[i], append(path, key), out)
	}
	for _, key := range v.keys {
		if o.at(key) < 0 {
			*out = append(*out, append(append([]string{}, path...), key))
		}
	}
}

// Text writes the value; indent is what each level is moved in by, "" writes it on one line.
func (v *JSON) Text(indent string) string {
	var b strings.Builder
	v.write(&b, indent, "\n")
	return b.String()
}

func (v *JSON) write(b *strings.Builder, indent, line string) {
	if v.kind == 's' {
		b.Write(scalarText(v.scalar))
		return
	}
	b.WriteByte(v.kind)
	inner := line + indent
	for i, item := range v.items {
		if i > 0 {
			b.WriteByte(',')
		}
		if indent != "" {
			b.WriteString(inner)
		}
		if v.kind == '{' {
			b.Write(scalarText(v.keys[i]))
			b.WriteByte(':')
			if indent != "" {
				b.WriteByte(' ')
			}
		}
		item.write(b, indent, inner)
	}
	if len(v.items) > 0 && indent != "" {
		b.WriteString(line)
	}
	b.WriteByte(v.kind + 2) // } and ] are two after { and [
}

func scalarText(s any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // nil, a bool, a number as it was read, or a string
	return bytes.TrimRight(b.Bytes(), "\n")
}

// JSONIndent returns how a document is indented: by the first indented line.
func JSONIndent(data []byte) string {
	_, rest, found := strings.Cut(strings.TrimSpace(string(data)), "\n")
	if !found {
		if len(bytes.TrimSpace(data)) > 2 {
			return ""
		}
		return "  "
	}
	if indent := rest[:len(rest)-len(strings.TrimLeft(rest, " \t"))]; indent != "" {
		return indent
	}
	return "  "
}
