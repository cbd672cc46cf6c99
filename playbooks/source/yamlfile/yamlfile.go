// Package yamlfile reads YAML into the tree of playbooks/source, and is the only
// package that knows the YAML library.
//
// It reads less than YAML allows, because each thing left out is one that people
// get wrong without noticing: a key may stand once in a mapping, keys are text,
// there are no merge keys and no tags beyond YAML's own, and a file holds one
// document. Aliases are followed. Every scalar keeps the text it was written
// with, so that 0644 is still four digits when a mode reads it; its type is that
// of YAML's core schema, where yes and 0o644 are what they look like.
//
// Every node and key has the place at which it starts, tags and anchors included.
package yamlfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"

	"holdfast/playbooks/source"
)

// Limits of what is read. They bound what a hostile or broken file can cost.
const (
	// MaxSize is the longest file that is read, in bytes.
	MaxSize = 10 << 20
	// MaxNodes is how many values and keys one file may hold.
	MaxNodes = 2_000_000
	// MaxAliased is how many values and keys aliases may add to those.
	MaxAliased = 200_000
)

// Parse reads one YAML document. The name is used for places and is not opened.
//
// An empty document is a nil node without a fault. When there are faults, the node
// holds what could be read and may be nil; keys of its mappings are still unique.
// Faults are in the order of the file.
func Parse(name string, data []byte) (*source.Node, source.Faults) {
	if len(data) > MaxSize {
		f := &source.Fault{
			Pos:     source.Pos{File: name},
			Message: fmt.Sprintf("the file has %d bytes, more than the %d that are read", len(data), MaxSize),
			Hint:    "split it",
		}
		return nil, source.Faults{f}
	}
	if bytes.Count(data, []byte{','})+bytes.Count(data, []byte{':'})+bytes.Count(data, []byte{'\n'}) > MaxNodes {
		// The library needs 160 bytes for each value before ours can be counted.
		f := &source.Fault{
			Pos:     source.Pos{File: name},
			Message: fmt.Sprintf("the file has more than %d lines, commas and colons", MaxNodes),
			Hint:    "split it",
		}
		return nil, source.Faults{f}
	}
	r := &reader{text: newText(name, data), anchored: map[*yaml.Node]*source.Node{}}
	if f := r.text.checkCharacters(); f != nil {
		return nil, source.Faults{f}
	}
	doc, second, err := decode(bytes.NewReader(r.text.data))
	if err != nil {
		return nil, source.Faults{r.text.syntaxFault(err)}
	}
	root := r.document(doc)
	if second != nil {
		pos, _ := r.text.locate(second.Line, second.Column)
		r.fault(pos, "one file holds one document: split it, or remove the ---", "a second document starts here")
	}
	if len(r.faults) == 0 {
		return root, nil
	}
	return root, r.faults.Sorted()
}

// decode returns the document, or nil when there is none, and the second one if
// the file goes on.
func decode(in io.Reader) (first, second *yaml.Node, err error) {
	// The library panics on some broken input; whatever it trips over is the
	// file's mistake for our reader.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("cannot make sense of it: %v", p)
		}
	}()
	dec := yaml.NewDecoder(in)
	docs := [2]*yaml.Node{}
	for i := range docs {
		var n yaml.Node
		err := dec.Decode(&n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		docs[i] = &n
	}
	return docs[0], docs[1], nil
}
