package task

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// Doc is a module's doc.md, taken apart. Its first line is the summary; fenced
// yaml blocks under "## Examples" are lists of tasks and run as tests.
type Doc struct {
	Summary  string
	Text     string // all of it
	Examples []string
}

func parseDoc(name, text string) Doc {
	d := Doc{Text: text}
	first, rest, _ := strings.Cut(strings.TrimSpace(text), "\n")
	d.Summary = strings.TrimSpace(strings.TrimLeft(first, "# "))
	if d.Summary == "" {
		panic(name + ": doc.md must begin with a summary")
	}
	_, examples, _ := strings.Cut(rest, "\n## Examples")
	for {
		_, after, found := strings.Cut(examples, "```yaml\n")
		if !found {
			return d
		}
		block, tail, _ := strings.Cut(after, "```")
		d.Examples = append(d.Examples, block)
		examples = tail
	}
}

func decodeSaved(saved []byte, into any) error {
	if err := json.NewDecoder(bytes.NewReader(saved)).Decode(into); err != nil {
		return fmt.Errorf("cannot read the saved state: %w", err)
	}
	return nil
}
