// Package task is the contract of task modules: what a module is made of, how it
// sees a host, and how its parameters are described and decoded.
//
// A module brings one thing on a host into a state. It is a struct of functions,
// [Def], over two types: P is what a playbook asks for, S is what the host has.
//
//	Observe  reads the host; its Reader has no method that writes
//	Diff     is pure: what differs between P and S
//	Apply    makes the changes through a Writer
//	Undo     takes back what commands did; everything else the journal takes back
//
// No module knows of a check mode. For a plan the engine observes, diffs, and
// applies onto an overlay that only remembers; so a later task sees what an
// earlier one would have done. After a real Apply the engine observes and diffs
// again, and a difference left over is the failure [NotSettled].
//
// What is not a state (running a command, waiting for a port, asserting) is an
// [ActionDef] over P and a result R.
//
// The text of a struct, tags included, is part of every name that a compiler makes of it
// for generic code. A struct that only embeds another one is read as that one, and its
// text is short: that saves 30 kB of the helper for each module that is written so.
//
// Parameter structs hold only: string, bool, int64, lists, map[string]T, nested
// structs, [Path], [Mode], [Duration], [Blob] and secret.Text. A pointer means
// "leave it alone when absent". Tags describe the fields, see [Field].
package task

import (
	"context"
	"fmt"
	"reflect"
	"strings"

	"holdfast/playbooks/source"
)

// Risk says what a module can break beyond its own resource.
type Risk string

// Connectivity is the risk of cutting the connection that the run depends on.
const Connectivity Risk = "connectivity"

// Def defines a module that brings a host into a state.
type Def[P, S any] struct {
	Name string // as playbooks spell it: "file"
	Doc  string // the module's doc.md
	Risk Risk
	// RiskOf says what these arguments risk, where that is not Risk for all. Without it,
	// a resource that is a file risks what [RisksLogin] says.
	RiskOf   func(P) Risk
	Validate func(P) error  // optional: rules across fields; see [FieldErrorf]
	Resource func(P) string // what the task is about: "/etc/motd", "fail2ban.service"
	Observe  func(context.Context, Reader, P) (S, error)
	Diff     func(P, S) []Change // pure; empty means nothing to do
	Apply    func(context.Context, Writer, P, S) error
	// Undo is optional; S is from before Apply. It has no secrets: those of P are made up.
	Undo func(context.Context, Writer, P, S) error
	// Irreversible says why there is no Undo although Apply runs commands.
	Irreversible string
	// Port says where the SSH server is to listen afterwards; 0 leaves it.
	Port func(P) int64
	// TLS says that it may speak TLS from the host: the larger helper is sent then.
	TLS bool
	// Controller says that it works with on: controller alone. It is no part of the
	// helper that is sent, and may link what that has no room for.
	Controller bool
}

// ActionDef defines a module that does something which is not a state. R is the
// result that a playbook may register.
type ActionDef[P, R any] struct {
	Name     string
	Doc      string
	Risk     Risk
	Validate func(P) error
	Resource func(P) string
	// ReadOnly actions change nothing: they run in a plan and in verify too, and
	// are called with a Writer only to share the signature.
	ReadOnly bool
	// Reads reports whether an action that is not ReadOnly as a whole only reads
	// with these arguments, and is treated as ReadOnly then.
	Reads func(P) bool
	// Wait actions are read-only but wait for something that only a real run
	// brings about: a plan names them and does not run them.
	Wait bool
	// Tells actions change nothing on the host that they work on: they say something to
	// somebody else. A plan names them; on the controller they need no lock.
	Tells bool
	// Skip is asked before Run: a non-empty answer says why there is nothing to do.
	Skip    func(context.Context, Reader, P) (string, error)
	Run     func(context.Context, Writer, P) (R, error)
	Changed func(P, R) bool                           // nil: always, unless ReadOnly
	Undo    func(context.Context, Writer, P, R) error // it has no secrets either
	// Reversible says whether Undo can take these arguments back; nil: when Undo is there.
	Reversible   func(P) bool
	Irreversible string
	TLS          bool // as in [Def]
	Controller   bool // as in [Def]
	// Reboots says that the host goes down when it has run: the engine waits for it to
	// come back before it goes on.
	Reboots bool
}

// Module is a Def or an ActionDef with its types erased. The engine and the
// helper know modules only in this form.
type Module struct {
	Name         string
	Doc          Doc
	Risk         Risk
	Action       bool // made from an ActionDef
	ReadOnly     bool
	MayRead      bool // Bound.ReadOnly depends on the arguments
	Wait         bool
	Tells        bool
	HasUndo      bool
	Irreversible string
	TLS          bool
	Controller   bool
	Reboots      bool
	Params       []Field
	Result       []Field
	ParamType    reflect.Type
	ResultType   reflect.Type // S or R
	bind         func(d *decoder, n *source.Node, at source.Pos) *Bound
}

// Bound is a module with its arguments. State modules have Observe and Apply,
// actions have Run. Skip and Undo may be nil.
type Bound struct {
	Resource   string
	Risk       Risk  // of these arguments
	Port       int64 // where the SSH server is to listen afterwards, if these arguments move it
	Reversible bool
	ReadOnly   bool // of an action: it changes nothing with these arguments
	Observe    func(context.Context, Reader) (state any, changes []Change, err error)
	Apply      func(ctx context.Context, w Writer, state any) error
	Run        func(context.Context, Writer) (result any, changed bool, err error)
	Skip       func(context.Context, Reader) (why string, err error)
	// Undo takes the state or result of the run that is taken back, as JSON gave it back.
	Undo func(ctx context.Context, w Writer, saved []byte) error
}

// New makes a module from its definition. It panics on a wrong definition: a nil
// function, a bad tag. Any test run finds that.
func New[P, S any](def Def[P, S]) *Module {
	if def.Observe == nil || def.Diff == nil || def.Apply == nil || def.Resource == nil {
		panic(def.Name + ": a Def needs Resource, Observe, Diff and Apply")
	}
	m := newModule(def.Name, def.Doc, reflect.TypeFor[P](), reflect.TypeFor[S]())
	m.Risk, m.HasUndo, m.Irreversible, m.TLS, m.Controller = def.Risk, def.Undo != nil, def.Irreversible, def.TLS, def.Controller
	m.bind = func(d *decoder, n *source.Node, at source.Pos) *Bound {
		p := new(P)
		if !d.params(m, n, at, p) {
			return nil
		}
		if def.Validate != nil && !d.valid(m, n, at, def.Validate(*p)) {
			return nil
		}
		secrets := sensitive(m.Params, p)
		b := &Bound{Resource: def.Resource(*p), Reversible: def.Irreversible == "", Risk: def.Risk}
		switch {
		case def.RiskOf != nil:
			b.Risk = def.RiskOf(*p)
		case strings.HasPrefix(b.Resource, "/") && RisksLogin(b.Resource):
			b.Risk = Connectivity
		}
		if def.Port != nil {
			b.Port = def.Port(*p)
		}
		b.Observe = func(ctx context.Context, r Reader) (any, []Change, error) {
			s, err := def.Observe(ctx, r, *p)
			if err != nil {
				return nil, nil, err
			}
			return s, withhold(def.Diff(*p, s), secrets), nil
		}
		b.Apply = func(ctx context.Context, w Writer, state any) error {
			return def.Apply(ctx, w, *p, state.(S))
		}
		if def.Undo != nil {
			b.Undo = func(ctx context.Context, w Writer, saved []byte) error {
				s := new(S)
				if err := decodeSaved(saved, s); err != nil {
					return err
				}
				return def.Undo(ctx, w, *p, *s)
			}
		}
		return b
	}
	return m
}

// NewAction makes a module from an action's definition. It panics like [New].
func NewAction[P, R any](def ActionDef[P, R]) *Module {
	if def.Run == nil || def.Resource == nil {
		panic(def.Name + ": an ActionDef needs Resource and Run")
	}
	m := newModule(def.Name, def.Doc, reflect.TypeFor[P](), reflect.TypeFor[R]())
	m.Action, m.ReadOnly, m.Wait, m.Tells, m.MayRead, m.Reboots = true, def.ReadOnly, def.Wait, def.Tells, def.Reads != nil, def.Reboots
	m.Risk, m.HasUndo, m.Irreversible, m.TLS, m.Controller = def.Risk, def.Undo != nil, def.Irreversible, def.TLS, def.Controller
	m.bind = func(d *decoder, n *source.Node, at source.Pos) *Bound {
		p := new(P)
		if !d.params(m, n, at, p) {
			return nil
		}
		if def.Validate != nil && !d.valid(m, n, at, def.Validate(*p)) {
			return nil
		}
		reads := def.ReadOnly || def.Reads != nil && def.Reads(*p)
		b := &Bound{Resource: def.Resource(*p), ReadOnly: reads, Reversible: reads || def.Wait || def.Undo != nil, Risk: def.Risk}
		if def.Reversible != nil && !reads {
			b.Reversible = def.Reversible(*p)
		}
		b.Run = func(ctx context.Context, w Writer) (any, bool, error) {
			r, err := def.Run(ctx, w, *p)
			if err != nil {
				return r, false, err
			}
			if def.Changed != nil {
				return r, def.Changed(*p, r), nil
			}
			return r, !reads && !def.Wait, nil
		}
		if def.Skip != nil {
			b.Skip = func(ctx context.Context, r Reader) (string, error) { return def.Skip(ctx, r, *p) }
		}
		if def.Undo != nil && b.Reversible {
			b.Undo = func(ctx context.Context, w Writer, saved []byte) error {
				r := new(R)
				if err := decodeSaved(saved, r); err != nil {
					return err
				}
				return def.Undo(ctx, w, *p, *r)
			}
		}
		return b
	}
	return m
}

// newModule and what else is not generic here is so because generic code is
// compiled for every module: that was 65 kB of the helper.
func newModule(name, doc string, params, result reflect.Type) *Module {
	if name == "" {
		panic("a module without a name")
	}
	params, result = embedded(params), embedded(result)
	return &Module{
		Name: name, Doc: parseDoc(name, doc),
		Params: fieldsOf(params, true), ParamType: params,
		Result: fieldsOf(result, false), ResultType: result,
	}
}

// params decodes into what p, a pointer, points to, and reports whether all of it
// is known and right.
func (d *decoder) params(m *Module, n *source.Node, at source.Pos, p any) bool {
	d.structure(n, at, m.Name, fieldsIn(p), m.Params)
	return len(d.faults) == 0 && d.holes == 0
}

// valid adds what the module's own rules found to the faults, and reports
// whether that was nothing.
func (d *decoder) valid(m *Module, n *source.Node, at source.Pos, found error) bool {
	d.validate(n, at, m.Name, found)
	return len(d.faults) == 0
}

// Check looks for faults in arguments as a playbook has them: unknown and missing
// fields, wrong types, broken rules. hole is asked about expressions. prefix is
// the path of the task. bound is nil while something is not known or is wrong.
func (m *Module) Check(n *source.Node, at source.Pos, prefix string, hole Hole) (bound *Bound, faults source.Faults) {
	d := &decoder{hole: hole}
	bound = m.bind(d, n, at)
	for _, f := range d.faults {
		if prefix != "" {
			f.Path = prefix + "." + f.Path
		}
	}
	return bound, d.faults
}

// Bind decodes resolved arguments strictly. It is what the helper does.
func (m *Module) Bind(args *source.Node, secrets Secrets) (*Bound, error) {
	d := &decoder{resolved: true, secrets: secrets}
	b := m.bind(d, args, args.Pos)
	if err := d.faults.Err(); err != nil {
		return nil, err
	}
	return b, nil
}

// String returns the module's name.
func (m *Module) String() string { return fmt.Sprintf("module %s", m.Name) }
