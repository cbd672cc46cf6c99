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
func (pb *Playbook) Digest() string {
	var all []string
	pb.sources(map[*Playbook]bool{}, &all)
	slices.Sort(all)
	all = slices.Compact(all)
	h := sha256.New()
	for _, line := range all {
		fmt.Fprintln(h, line)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (pb *Playbook) sources(seen map[*Playbook]bool, out *[]string) {
	if seen[pb] {
		return
	}
	seen[pb] = true
	*out = append(*out, fmt.Sprintf("playbook %q %s", pb.Lang.Name, pb.Lang.Digest))
	pb.folder.mu.Lock()
	for name, f := range pb.folder.files {
		if f.err == nil {
			*out = append(*out, fmt.Sprintf("file %q %q %s", pb.Lang.Name, name, f.digest))
		}
	}
	pb.folder.mu.Unlock()
	var walk func(list []*Node)
	walk = func(list []*Node) {
		for _, n := range list {
			if n.Use != nil {
				n.Use.sources(seen, out)
			}
			walk(slices.Concat(n.Tasks, n.Rescue, n.Always))
		}
	}
	walk(pb.Tasks)
	walk(pb.Verify)
	for _, h := range pb.Handlers {
		walk(h.Tasks)
	}
}
