package inventory_test

import (
	"bytes"
	"regexp"
	"testing"
	"unicode/utf8"

	"holdfast/inventory"
	"holdfast/playbooks/source"
)

var longRange = regexp.MustCompile(`\[[^]]*[0-9]{3}`)

// FuzzParse checks that no file makes the reader panic, that every fault stands
// inside the file, and that what was read can be used.
func FuzzParse(f *testing.F) {
	f.Add([]byte(fleet))
	f.Add([]byte(small))
	for _, tt := range faultTests {
		f.Add([]byte(tt.in))
	}
	f.Add([]byte("hosts: {\"a[1:3]\": {groups: [g]}}\ngroups: {g: {groups: [h]}, h: {groups: [g], select: x=y, labels: {a: b}}}\n"))
	f.Add([]byte("a: &x {hosts: {b: }}\n<<: *x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if longRange.Match(data) {
			return // many hosts take their time and show nothing new
		}
		inv, faults := inventory.Parse("f.yml", data, options)
		lines := bytes.Split(bytes.TrimPrefix(data, []byte("\ufeff")), []byte("\n"))
		for _, fault := range faults {
			for _, p := range append([]source.Pos{fault.Pos}, fault.Also...) {
				if p.Line < 1 || p.Line > len(lines) || p.Col < 1 || p.Col > utf8.RuneCount(lines[p.Line-1])+1 {
					t.Fatalf("fault %v is outside the file of %d lines", fault, len(lines))
				}
			}
		}
		hosts, _ := inv.Select(nil, labelIs)
		if len(hosts) != len(inv.Hosts) {
			t.Fatalf("all are %d of %d hosts", len(hosts), len(inv.Hosts))
		}
		for _, h := range hosts[:min(len(hosts), 50)] {
			checkHost(t, inv, h)
		}
	})
}

func checkHost(t *testing.T, inv *inventory.Inventory, h *inventory.Host) {
	if inv.Host(h.Name) != h || h.Name == "all" {
		t.Fatalf("host %q is not found by its name", h.Name)
	}
	for name, v := range h.Vars {
		values, err := inv.Explain(h.Name, name)
		if err != nil || len(values) == 0 || values[0].Node != v.Node || values[0].Level != v.Level {
			t.Fatalf("host %q has %q from %s, explained as %v %v", h.Name, name, v.Where(), values, err)
		}
	}
	if got, faults := inv.Select([]string{h.Name}, nil); inv.Group(h.Name) == nil && (len(got) != 1 || got[0] != h) {
		t.Fatalf("the pattern %q chooses %v %v", h.Name, got, faults)
	}
}

// FuzzInline checks that no list of hosts makes the reader panic and that each host
// can be chosen by its name.
func FuzzInline(f *testing.F) {
	f.Add("a,b,root@c:22,[::1]:2,db[1:3]")
	f.Fuzz(func(t *testing.T, list string) {
		if longRange.MatchString(list) {
			return
		}
		inv, _ := inventory.Inline(list)
		for _, h := range inv.Hosts[:min(len(inv.Hosts), 50)] {
			checkHost(t, inv, h)
		}
	})
}

// FuzzSelect checks that no pattern makes the reader panic.
func FuzzSelect(f *testing.F) {
	f.Add("web*,!db1,&eu,role=gateway,db[1:2]")
	inv, _ := inventory.Parse("f.yml", []byte(small), options)
	f.Fuzz(func(t *testing.T, limit string) {
		hosts, faults := inv.Select([]string{limit}, labelIs)
		if len(hosts) == 0 && len(faults) == 0 {
			t.Fatalf("%q chooses nothing without a fault", limit)
		}
	})
}
