package yamlfile

import (
	"fmt"

	"go.yaml.in/yaml/v3"

	"holdfast/playbooks/source"
)

// reader turns the library's nodes into ours.
type reader struct {
	text     *text
	faults   source.Faults
	anchored map[*yaml.Node]*source.Node // finished nodes that have an anchor
	nodes    int                         // made from the file's own nodes
	aliased  int                         // made by aliases
	stopped  bool                        // a limit was passed and reported
}

func (r *reader) fault(pos source.Pos, hint, format string, args ...any) {
	r.faults.Add(&source.Fault{Pos: pos, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// document returns the tree of a document, or nil when it holds nothing.
func (r *reader) document(doc *yaml.Node) *source.Node {
	if doc == nil || len(doc.Content) == 0 {
		return nil
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Value == "" && root.Style == 0 && root.Anchor == "" {
		return nil
	}
	return r.node(root, 0)
}

// node never returns nil: what cannot be read is an empty value at its place.
func (r *reader) node(y *yaml.Node, depth int) *source.Node {
	pos, off := r.text.locate(y.Line, y.Column)
	if !r.take(&r.nodes, 1, MaxNodes, pos, "the file holds more than %d values") || !r.deepEnough(pos, depth) {
		return source.NewScalar(pos, source.Null, "")
	}
	var n *source.Node
	switch y.Kind {
	case yaml.AliasNode:
		return r.alias(y, pos, depth)
	case yaml.SequenceNode:
		r.checkTag(y, pos, "!!seq")
		n = &source.Node{Kind: source.List, Pos: pos}
		for _, item := range y.Content {
			n.Items = append(n.Items, r.node(item, depth+1))
		}
	case yaml.MappingNode:
		r.checkTag(y, pos, "!!map")
		n = r.mapping(y, pos, depth)
	default:
		n = r.scalar(y, pos, off)
	}
	if y.Anchor != "" {
		r.anchored[y] = n
	}
	return n
}

// take adds to a count and reports once that its limit is passed.
func (r *reader) take(count *int, n, limit int, pos source.Pos, format string) bool {
	if r.stopped {
		return false
	}
	*count += n
	if *count <= limit {
		return true
	}
	r.stopped = true
	r.fault(pos, "split the file", format, limit)
	return false
}

func (r *reader) deepEnough(pos source.Pos, depth int) bool {
	if depth <= source.MaxDepth {
		return true
	}
	r.fault(pos, "", "nested deeper than %d levels", source.MaxDepth)
	return false
}

func (r *reader) mapping(y *yaml.Node, pos source.Pos, depth int) *source.Node {
	n := &source.Node{Kind: source.Map, Pos: pos, Entries: make([]source.Entry, 0, len(y.Content)/2)}
	seen := make(map[string]source.Pos, len(y.Content)/2)
	for i := 0; i+1 < len(y.Content); i += 2 {
		key := r.node(y.Content[i], depth+1)
		value := r.node(y.Content[i+1], depth+1)
		if !r.usableKey(y.Content[i], key) {
			continue
		}
		if first, again := seen[key.Text]; again {
			r.fault(key.Pos, "remove one of them", "the key %q stands twice in this mapping", key.Text)
			r.faults[len(r.faults)-1].Also = []source.Pos{first}
			continue
		}
		seen[key.Text] = key.Pos
		n.Entries = append(n.Entries, source.Entry{Key: key, Value: value})
	}
	return n
}

// usableKey reports the keys that no mapping of ours can have.
func (r *reader) usableKey(y *yaml.Node, key *source.Node) bool {
	switch {
	case r.stopped:
		return false
	case key.Kind != source.Scalar:
		r.fault(key.Pos, "", "a key must be text, not %s", key.Kind)
	case y.Kind == yaml.ScalarNode && y.Tag == "!!merge":
		r.fault(key.Pos, "write the keys out", `merge keys ("<<") are not read`)
	case key.Type == source.Null && key.Text == "":
		r.fault(key.Pos, `put text that starts with ":" in quotes`, `a key is missing before the ":"`)
	default:
		return true
	}
	return false
}

// alias copies the tree that it stands for to its place.
func (r *reader) alias(y *yaml.Node, pos source.Pos, depth int) *source.Node {
	target := r.anchored[y.Alias]
	if target == nil {
		if !r.stopped {
			r.fault(pos, "", "the alias *%s stands inside the value that it names", y.Value)
		}
		return source.NewScalar(pos, source.Null, "")
	}
	c := &cloner{r: r, alias: pos}
	return c.clone(target, depth)
}

type cloner struct {
	r       *reader
	alias   source.Pos
	tooDeep bool
}

func (c *cloner) clone(n *source.Node, depth int) *source.Node {
	if !c.r.take(&c.r.aliased, 1, MaxAliased, c.alias, "aliases add more than %d values") || c.tooDeep {
		return source.NewScalar(c.alias, source.Null, "")
	}
	if depth > source.MaxDepth {
		c.tooDeep = true
		c.r.deepEnough(c.alias, depth)
		return source.NewScalar(c.alias, source.Null, "")
	}
	out := *n
	out.Pos = c.alias
	if out.Anchor == nil {
		written := n.Pos
		out.Anchor = &written
	}
	out.Columns = nil
	out.Items, out.Entries = nil, nil
	for _, item := range n.Items {
		out.Items = append(out.Items, c.clone(item, depth+1))
	}
	for _, e := range n.Entries {
		out.Entries = append(out.Entries, source.Entry{Key: c.clone(e.Key, depth+1), Value: c.clone(e.Value, depth+1)})
	}
	return &out
}

// checkTag reports a tag other than the one its value has anyway.
func (r *reader) checkTag(y *yaml.Node, pos source.Pos, want string) {
	if y.Style&yaml.TaggedStyle == 0 || y.Tag == want {
		return
	}
	r.faults.Add(tagFault(y, pos, fmt.Sprintf("the tag %s does not fit here", y.Tag)))
}

func tagFault(y *yaml.Node, pos source.Pos, known string) *source.Fault {
	f := &source.Fault{Pos: pos, Message: fmt.Sprintf("the tag %s is not known", y.Tag), Hint: "remove the tag"}
	switch y.Tag {
	case "!!str", "!!int", "!!float", "!!bool", "!!null", "!!seq", "!!map":
		f.Message = known
	}
	return f
}
