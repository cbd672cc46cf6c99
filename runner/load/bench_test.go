package load_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"holdfast/inventory"
	"holdfast/runner/load"
)

// manyTasks is a playbook of n tasks of the usual kinds.
func manyTasks(n int) setup {
	var b strings.Builder
	b.WriteString("params:\n  port: {type: int, default: 22, check: value > 0}\n  word: {type: string, default: w}\n  list: {type: list(string), default: [a, b]}\ntasks:\n")
	for i := range n {
		switch i % 5 {
		case 0:
			fmt.Fprintf(&b, "  - make: {name: n%d, mode: 0644, path: /etc/x%d, words: [a, b, c]}\n", i, i)
		case 1:
			fmt.Fprintf(&b, "  - make: {name: \"${host.name}-%d\", count: \"${params.port}\"}\n    register: r%d\n", i, i)
		case 2:
			fmt.Fprintf(&b, "  - make: {name: n%d, content: \"text for ${params.word} on ${host.labels.role}\\n\"}\n    when: host.labels.role == \"web\" && params.port > 1\n", i)
		case 3:
			fmt.Fprintf(&b, "  - make: {name: \"${item}\", env: {A: \"${params.word}\"}}\n    each: ${params.list}\n    when: r%d.uid > 0 || host.name != \"x\"\n", i-2)
		default:
			fmt.Fprintf(&b, "  - do: {what: \"run %d\"}\n    when: facts.os.id == \"debian\"\n", i)
		}
	}
	return setup{text: b.String(), fleet: "hosts: {'web[1:1000]': {labels: {role: web}}}\nvars: {word: all}\n"}
}

func BenchmarkLoad200Tasks(b *testing.B) {
	s := manyTasks(200)
	for b.Loop() {
		if _, faults := s.compile(); len(faults) > 0 {
			b.Fatal(faults)
		}
	}
}

func BenchmarkExpand1000Hosts(b *testing.B) {
	s := manyTasks(200)
	pb, faults := s.compile()
	if len(faults) > 0 {
		b.Fatal(faults)
	}
	hosts := s.inventory(b)
	for b.Loop() {
		if _, faults := load.Bind(pb, hosts, load.BindOptions{}); len(faults) > 0 {
			b.Fatal(faults)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(len(hosts)*200), "µs/task")
}

// Twice the hosts may cost twice the time, and not more.
func TestBindIsLinear(t *testing.T) {
	s := manyTasks(50)
	pb, faults := s.compile()
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	hosts := s.inventory(t)
	took := func(hosts []*inventory.Host) time.Duration {
		best := time.Hour
		for range 3 {
			began := time.Now()
			if _, faults := load.Bind(pb, hosts, load.BindOptions{}); len(faults) > 0 {
				t.Fatal(faults)
			}
			best = min(best, time.Since(began))
		}
		return best
	}
	few, many := took(hosts[:100]), took(hosts[:800])
	if many > 24*few {
		t.Errorf("100 hosts took %s, 800 hosts %s", few, many)
	}
}
