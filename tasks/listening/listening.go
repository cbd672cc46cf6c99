// Package listening checks which ports of a host are open.
package listening

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"holdfast/tasks/task"
)

//go:embed doc.md
var doc string

// loopback is the address that stands for all of this machine alone.
const loopback = "loopback"

// Params is what a playbook asks for.
type Params struct {
	TCP     []int64 `yaml:"tcp" doc:"TCP ports that must accept connections."`
	UDP     []int64 `yaml:"udp" doc:"UDP ports that must accept datagrams."`
	Address *string `yaml:"address" doc:"The one address that the ports may be open on; \"loopback\" for 127.0.0.0/8 and ::1."`
	Exactly bool    `yaml:"exactly" default:"false" doc:"Whether no other port may be open to other machines."`
}

// Result lists what is open.
type Result struct {
	Open []string `yaml:"open" json:"open" doc:"All that listens, as proto/address:port, sorted."`
}

// Module checks open ports.
var Module = task.NewAction(task.ActionDef[Params, Result]{
	Name: "listening", Doc: doc,
	Validate: validate,
	Resource: resource,
	ReadOnly: true,
	Run:      run,
})

func validate(p Params) error {
	if p.TCP == nil && p.UDP == nil {
		return task.FieldErrorf("tcp", "missing: want tcp, udp or both; an empty list with exactly means that none may be open")
	}
	if len(p.TCP)+len(p.UDP) == 0 && !p.Exactly {
		return task.FieldErrorf("exactly", "missing: no port is named, so nothing would be checked")
	}
	for _, l := range []struct {
		field string
		ports []int64
	}{{"tcp", p.TCP}, {"udp", p.UDP}} {
		for _, port := range l.ports {
			if port < 1 || port > 65535 {
				return task.FieldErrorf(l.field, "%d is no port: want 1 to 65535", port)
			}
		}
	}
	return nil
}

func resource(p Params) string {
	var out []string
	for proto, ports := range p.protocols() {
		for _, port := range ports {
			out = append(out, proto+"/"+strconv.FormatInt(port, 10))
		}
	}
	return cmp.Or(strings.Join(out, ", "), "open ports")
}

// protocols yields the lists that were given.
func (p *Params) protocols() func(yield func(string, []int64) bool) {
	return func(yield func(string, []int64) bool) {
		if p.TCP != nil && !yield("tcp", p.TCP) {
			return
		}
		if p.UDP != nil {
			yield("udp", p.UDP)
		}
	}
}

func run(ctx context.Context, w task.Writer, p Params) (Result, error) {
	all, err := w.Listeners(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("cannot tell whether %s is open: %w", resource(p), err)
	}
	r := Result{Open: []string{}}
	for _, l := range all {
		r.Open = append(r.Open, describe(l))
	}
	slices.Sort(r.Open)
	r.Open = slices.Compact(r.Open)
	if wrong := check(p, all); len(wrong) > 0 {
		return r, errors.New(strings.Join(wrong, "; "))
	}
	return r, nil
}

// check returns what is wrong, in a stable order.
func check(p Params, all []task.Listener) []string {
	var wrong []string
	for proto, ports := range p.protocols() {
		for _, port := range ports {
			wrong = append(wrong, checkPort(p, all, proto, port)...)
		}
		if p.Exactly {
			wrong = append(wrong, others(all, proto, ports)...)
		}
	}
	return wrong
}

func checkPort(p Params, all []task.Listener, proto string, port int64) []string {
	var right, wrong []string
	for _, l := range all {
		switch {
		case l.Proto != proto || l.Port != port:
		case p.Address == nil || *p.Address == l.Address || *p.Address == loopback && isLoopback(l.Address):
			right = append(right, describe(l))
		default:
			wrong = append(wrong, fmt.Sprintf("%s is open, want it on %s only", describe(l), *p.Address))
		}
	}
	if len(right) == 0 && len(wrong) == 0 {
		return []string{fmt.Sprintf("nothing listens on %s/%d", proto, port)}
	}
	slices.Sort(wrong)
	return slices.Compact(wrong)
}

func others(all []task.Listener, proto string, ports []int64) []string {
	var wrong []string
	for _, l := range all {
		if l.Proto == proto && !slices.Contains(ports, l.Port) && !isLoopback(l.Address) {
			wrong = append(wrong, describe(l)+" is open and not in the list")
		}
	}
	slices.Sort(wrong)
	return slices.Compact(wrong)
}

func isLoopback(address string) bool {
	address = strings.TrimPrefix(address, "::ffff:")
	return strings.HasPrefix(address, "127.") || address == "::1"
}

func describe(l task.Listener) string {
	address := l.Address
	if strings.Contains(address, ":") {
		address = "[" + address + "]"
	}
	return fmt.Sprintf("%s/%s:%d", l.Proto, address, l.Port)
}
