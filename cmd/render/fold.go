package render

import (
	"cmp"
	"slices"
	"time"
)

// fold gathers blocks and puts those that say the same into one, with their hosts.
type fold struct {
	all   []*folded
	byKey map[string]*folded
}

// folded is one block and the hosts that it stands for.
type folded struct {
	*block
	hosts []string
	order int // the earliest place that it had on a host
	took  time.Duration
}

// add takes in a block of a host. The order is its place among the host's blocks.
func (f *fold) add(host string, order int, b *block) {
	key := b.key()
	have := f.byKey[key]
	if have == nil {
		if f.byKey == nil {
			f.byKey = map[string]*folded{}
		}
		have = &folded{block: b, order: order}
		f.byKey[key] = have
		f.all = append(f.all, have)
	}
	have.order = min(have.order, order)
	have.took = max(have.took, b.took)
	// Two items of a loop may say the same on one host.
	if !slices.Contains(have.hosts, host) {
		have.hosts = append(have.hosts, host)
	}
}

// take returns the blocks in the order of the playbook and empties the fold.
func (f *fold) take() []*folded {
	out := f.all
	f.all, f.byKey = nil, nil
	slices.SortStableFunc(out, func(a, b *folded) int {
		return cmp.Or(cmp.Compare(a.order, b.order), a.task.Pos.Compare(b.task.Pos))
	})
	return out
}
