package expr

import (
	"context"
	"errors"
	"sync"
)

// hostScope is what an inventory's selection may use. Labels and groups of hosts
// are known before anything else is.
var hostScope = Scope{"host": {Kind: Struct, Object: &Object{Name: "host", Fields: map[string]*Type{
	"name":    {Kind: String},
	"address": {Kind: String},
	"labels":  {Kind: Map, Elem: &Type{Kind: String}},
	"groups":  {Kind: List, Elem: &Type{Kind: String}},
}}}}

var hostEnv = sync.OnceValues(func() (*Env, error) { return newEnv(hostScope) })

// CheckHost reports the first fault of an expression that selects hosts by
// host.name, host.address, host.labels and host.groups, or nil.
func CheckHost(expression string) *Fault {
	_, f := compileHost(expression)
	return f
}

func compileHost(expression string) (*Program, *Fault) {
	env, err := hostEnv()
	if err != nil {
		return nil, &Fault{Message: err.Error()}
	}
	p, faults := env.Compile(expression, &Type{Kind: Bool})
	if len(faults) > 0 {
		return nil, faults[0]
	}
	if secrets := p.Secrets(); len(secrets) > 0 || p.Reveals() {
		return nil, &Fault{Message: "hosts cannot be selected by secrets"}
	}
	return p, nil
}

// SelectHost reports whether an expression that [CheckHost] takes selects the
// host with the given values: name, address, labels, groups. A host without a
// label that decides the outcome is not selected, whatever is asked of the label.
func SelectHost(ctx context.Context, expression string, host map[string]any) (bool, *Fault) {
	p, f := compileHost(expression)
	if f != nil {
		return false, f
	}
	v, err := p.Eval(ctx, Vars{Values: map[string]any{"host": host}})
	var failure *Failure
	if errors.As(err, &failure) {
		if errors.Is(failure, errNoLabel) {
			return false, nil
		}
		return false, &Fault{Offset: failure.Offset, Message: failure.Message, Hint: failure.Hint}
	}
	selected, _ := v.(bool)
	return selected, nil
}
