package lang

import (
	"strconv"
	"strings"
	"time"

	"holdfast/playbooks/source"
)

// Rollout says in which order an apply goes over a fleet, and when it stops. It counts
// for the playbook that is applied, not for those that it uses.
type Rollout struct {
	Waves   []Wave
	Budget  int           // how many hosts may fail before nothing more is begun
	Soak    time.Duration // how long a host is left alone before it is verified once more
	SoakPos source.Pos
}

// Wave is how many hosts are worked on together: a number, or a part of all.
type Wave struct {
	Hosts   int
	Percent int // when Hosts is 0
}

// size is how many of so many hosts the wave takes: at least one.
func (w Wave) size(fleet int) int {
	if w.Hosts > 0 {
		return w.Hosts
	}
	return max(1, (fleet*w.Percent+99)/100)
}

// Sizes returns how many hosts each wave takes. The last wave is said again until
// every host has its turn.
func (r *Rollout) Sizes(fleet int) []int {
	if r == nil || len(r.Waves) == 0 {
		return []int{fleet}
	}
	var out []int
	for left := fleet; left > 0; {
		w := r.Waves[min(len(out), len(r.Waves)-1)]
		n := min(left, w.size(fleet))
		out = append(out, n)
		left -= n
	}
	return out
}

func (p *parser) rollout(pb *Playbook, n *source.Node) {
	r := &Rollout{}
	p.keys(n, "rollout", map[string]func(*source.Node){
		"waves":  func(v *source.Node) { r.Waves = p.waves(v) },
		"budget": func(v *source.Node) { p.budget(r, v) },
		"soak": func(v *source.Node) {
			r.SoakPos = v.Pos
			p.duration("rollout.soak", 0, 24*time.Hour, &r.Soak)(v)
		},
	})
	pb.Rollout = r
}

func (p *parser) waves(n *source.Node) []Wave {
	const path = "rollout.waves"
	items := n.Items
	if n.Kind != source.List || len(items) == 0 {
		p.faults.Addf(n.Pos, path, "want a list of numbers and percentages, got %s", describe(n)).Hint = "one host first, then the others: waves: [1, 100%]"
		return nil
	}
	var out []Wave
	for _, item := range items {
		number, isPercent := strings.CutSuffix(item.Text, "%")
		value, err := strconv.Atoi(number)
		switch {
		case item.Kind != source.Scalar || err != nil || value < 1 || isPercent && value > 100:
			p.faults.Addf(item.Pos, path, "want a number of hosts or a percentage up to 100%%, got %s", quote(item))
		case isPercent:
			out = append(out, Wave{Percent: value})
		default:
			out = append(out, Wave{Hosts: value})
		}
	}
	return out
}

func (p *parser) budget(r *Rollout, n *source.Node) {
	p.keys(n, "rollout.budget", map[string]func(*source.Node){
		"hosts": func(v *source.Node) {
			value, err := strconv.Atoi(v.Text)
			if v.Kind != source.Scalar || err != nil || value < 0 {
				p.faults.Addf(v.Pos, "rollout.budget.hosts", "want how many hosts may fail, got %s", quote(v))
				return
			}
			r.Budget = value
		},
	})
}
