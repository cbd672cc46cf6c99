package load

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
)

// Digest names what a run of the playbook is made of: its file, those of the playbooks
// that it uses, and the files beside them that were read when it was bound to hosts.
// What only a fact of a host can choose is not in it.
func (p *Playbook) Digest() string {
	var all []string
	p.sources(map[*Playbook]bool{}, &all)
	slices.Sort(all)
	all = slices.Compact(all)
	h := sha256.New()
	for _, line := range all {
		fmt.Fprintln(h, line)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (p *Playbook) sources(seen map[*Playbook]bool, out *[]string) {
	if seen[p] {
		return
	}
	seen[p] = true
	*out = append(*out, fmt.Sprintf("playbook %q %s", p.Lang.Name, p.Lang.Digest))
	p.folder.mu.Lock()
	for name, f := range p.folder.files {
		if f.err == nil {
			*out = append(*out, fmt.Sprintf("file %q %q %s", p.Lang.Name, name, f.digest))
		}
	}
	p.folder.mu.Unlock()
	var walk func(list []*Node)
	walk = func(list []*Node) {
		for _, n := range list {
			if n.Use != nil {
				n.Use.sources(seen, out)
			}
			walk(slices.Concat(n.Tasks, n.Rescue, n.Always))
		}
	}
	walk(p.Tasks)
	walk(p.Verify)
	for _, h := range p.Handlers {
		walk(h.Tasks)
	}
}
