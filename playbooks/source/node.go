package source

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// Kind says what a node is.
type Kind uint8

// The kinds of nodes. The zero Kind is not valid.
const (
	Scalar Kind = iota + 1
	List
	Map
)

// String returns the kind as users read it in a fault.
func (k Kind) String() string {
	switch k {
	case Scalar:
		return "a value"
	case List:
		return "a list"
	case Map:
		return "a mapping"
	}
	return "nothing"
}

// Type says what a scalar's text means when nobody asks for a type: YAML's core
// schema for plain scalars, Str for everything in quotes.
type Type uint8

// The types of scalars.
const (
	Str Type = iota
	Null
	Bool
	Int
	Float
)

// Node is a value with its place. Scalars keep the text as it was written, so
// that 0644 is still four digits when a mode reads it.
type Node struct {
	Kind Kind
	Text string // of a Scalar
	Type Type   // of a Scalar
	Pos  Pos
	// Anchor is where an aliased value was written; nil when there is no alias.
	// Pos is then the place of the alias.
	Anchor  *Pos
	Items   []*Node // of a List
	Entries []Entry // of a Map, in the order of the file, keys are unique
	// Columns maps a byte offset in Text to a place in the file. Nil means
	// that the offset cannot be mapped and Pos is used.
	Columns func(offset int) Pos
}

// Entry is one key of a Map with its value.
type Entry struct {
	Key   *Node
	Value *Node
}

// At returns the place of the byte offset in a scalar's text.
func (n *Node) At(offset int) Pos {
	if n.Columns == nil || n.Anchor != nil {
		return n.Pos
	}
	return n.Columns(offset)
}

// Get returns the value of key in a Map, or nil.
func (n *Node) Get(key string) *Node {
	if n == nil || n.Kind != Map {
		return nil
	}
	for _, e := range n.Entries {
		if e.Key.Text == key {
			return e.Value
		}
	}
	return nil
}

// Keys returns the keys of a Map in order.
func (n *Node) Keys() []string {
	out := make([]string, 0, len(n.Entries))
	for _, e := range n.Entries {
		out = append(out, e.Key.Text)
	}
	return out
}

// IsNull reports whether the node is absent or an empty value.
func (n *Node) IsNull() bool { return n == nil || n.Kind == Scalar && n.Type == Null }

// NewScalar returns a scalar at pos.
func NewScalar(pos Pos, typ Type, text string) *Node {
	return &Node{Kind: Scalar, Type: typ, Text: text, Pos: pos}
}

// FromValue makes a tree from plain Go values: nil, bool, integers, floats,
// strings, []any, []string and map[string]any, the last with sorted keys. All
// nodes get pos. It fails for any other type.
func FromValue(pos Pos, v any) (*Node, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("cannot make a node from %T: %w", v, err)
	}
	return FromJSON(pos, b)
}

// MaxDepth is how deep a tree may nest.
const MaxDepth = 64

// FromJSON reads one JSON value as a tree whose nodes all have pos. Numbers keep
// their text. Duplicate keys and nesting deeper than [MaxDepth] are errors.
func FromJSON(pos Pos, data []byte) (*Node, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	n, err := readJSON(dec, pos, 0)
	if err != nil {
		return nil, err
	}
	if dec.More() {
		return nil, fmt.Errorf("more than one value")
	}
	return n, nil
}

func readJSON(dec *json.Decoder, pos Pos, depth int) (*Node, error) {
	if depth > MaxDepth {
		return nil, fmt.Errorf("nested deeper than %d levels", MaxDepth)
	}
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := tok.(type) {
	case nil:
		return NewScalar(pos, Null, ""), nil
	case bool:
		return NewScalar(pos, Bool, strconv.FormatBool(t)), nil
	case json.Number:
		typ := Int
		if _, err := t.Int64(); err != nil {
			typ = Float
		}
		return NewScalar(pos, typ, t.String()), nil
	case string:
		return NewScalar(pos, Str, t), nil
	case json.Delim:
		if t == '[' {
			return readJSONList(dec, pos, depth)
		}
		return readJSONMap(dec, pos, depth)
	}
	return nil, fmt.Errorf("unexpected token %v", tok)
}

func readJSONList(dec *json.Decoder, pos Pos, depth int) (*Node, error) {
	n := &Node{Kind: List, Pos: pos}
	for dec.More() {
		item, err := readJSON(dec, pos, depth+1)
		if err != nil {
			return nil, err
		}
		n.Items = append(n.Items, item)
	}
	_, err := dec.Token()
	return n, err
}

func readJSONMap(dec *json.Decoder, pos Pos, depth int) (*Node, error) {
	n := &Node{Kind: Map, Pos: pos}
	seen := map[string]bool{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, err
		}
		key, _ := tok.(string)
		if seen[key] {
			return nil, fmt.Errorf("duplicate key %q", key)
		}
		seen[key] = true
		value, err := readJSON(dec, pos, depth+1)
		if err != nil {
			return nil, err
		}
		n.Entries = append(n.Entries, Entry{NewScalar(pos, Str, key), value})
	}
	_, err := dec.Token()
	return n, err
}

// MarshalJSON writes the tree as JSON. Scalars that are not null, true or false
// become strings, so that a mode or a version never turns into a number on the way.
func (n *Node) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	if err := n.writeJSON(&b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func (n *Node) writeJSON(b *bytes.Buffer) error {
	switch n.Kind {
	case Scalar:
		return n.writeScalar(b)
	case List:
		b.WriteByte('[')
		for i, item := range n.Items {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := item.writeJSON(b); err != nil {
				return err
			}
		}
		b.WriteByte(']')
		return nil
	case Map:
		b.WriteByte('{')
		for i, e := range n.Entries {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := writeString(b, e.Key.Text); err != nil {
				return err
			}
			b.WriteByte(':')
			if err := e.Value.writeJSON(b); err != nil {
				return err
			}
		}
		b.WriteByte('}')
		return nil
	}
	return fmt.Errorf("internal error: node of kind %d", n.Kind)
}

func (n *Node) writeScalar(b *bytes.Buffer) error {
	switch {
	case n.Type == Null:
		b.WriteString("null")
	case n.Type == Bool && (n.Text == "true" || n.Text == "false"):
		b.WriteString(n.Text)
	default:
		return writeString(b, n.Text)
	}
	return nil
}

func writeString(b *bytes.Buffer, s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("text is not UTF-8")
	}
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // the encoder ends each value with a newline
	return nil
}
