// Package lang is the playbook language: the tree that a playbook's YAML becomes,
// with the place of everything. It knows no module, no expression language and no
// host; runner/load joins it with those.
package lang

import (
	"io/fs"
	"time"

	"holdfast/playbooks/source"
)

// Playbook is one file as written.
type Playbook struct {
	File      string // as named in faults
	Origin    string // where it was found: a path, or "library"
	FS        fs.FS  // its folder: files/, templates/; nil when it has none
	Name      string
	Version   string
	Summary   string
	Needs     Needs
	Params    []*Param
	OnFailure string // stop (the default), continue, rollback
	Rollout   *Rollout
	Tasks     []*Entry
	Handlers  []*Handler
	Verify    []*Entry
	Digest    string // SHA-256 of the file
}

// Needs says what a playbook needs to run at all.
type Needs struct {
	Holdfast    string // constraint, such as >=0.1.0
	HoldfastPos source.Pos
	OS          []OSNeed // any of these; empty means any system
}

// OSNeed is one accepted system: an ID of os-release and an optional comparison.
type OSNeed struct {
	Pos     source.Pos
	ID      string
	Op      string // "", ">=", "=", "<", …
	Version string
}

// Param is one declared parameter.
type Param struct {
	Name     string
	Pos      source.Pos
	Type     Type
	Default  *source.Node // nil when there is none
	Required bool
	Doc      string
	Check    *source.Node // an expression over value, or nil
	OneOf    []string
	Keys     []string // what a map may hold; empty: anything
}

// Type is the type of a parameter.
type Type struct {
	Kind string // string, int, float, bool, duration, secret, list, map, any
	Elem *Type  // of list and map
}

// String returns the type as playbooks spell it.
func (t Type) String() string {
	if t.Elem != nil {
		return t.Kind + "(" + t.Elem.String() + ")"
	}
	return t.Kind
}

func (t Type) holdsSecret() bool {
	return t.Kind == "secret" || t.Elem != nil && t.Elem.holdsSecret()
}

// Handler is a named list of tasks that run when notified.
type Handler struct {
	Name  string
	Pos   source.Pos
	Tasks []*Entry
}

// Name is a reference to something by name, with its place.
type Name struct {
	Text string
	Pos  source.Pos
}

// Retry says how often to try a task again.
type Retry struct {
	Times int
	Delay time.Duration
	Until *source.Node // an expression over the result, or nil: until it does not fail
}

// Entry is a task as written: a module with arguments, a block, or the use of
// another playbook. Exactly one of Module, Use and Block is set.
type Entry struct {
	Pos           source.Pos
	Path          string // tasks[3].tasks[0]
	Name          string // given, or made of the module
	When          *source.Node
	Each          *source.Node // a list, or an expression that is one
	As            string       // name of the loop variable, "item" by default
	AsPos         source.Pos   // zero when the name is not given
	Register      Name
	Notify        []Name
	Satisfies     []Name // handlers that need not run when it changed something
	Retry         *Retry
	Timeout       time.Duration // 0: the default
	RunAs         *source.Node
	OnController  bool // it works on the machine that the program runs on
	OnPos         source.Pos
	Once          bool // the first host that gets there does it for the whole run
	OncePos       source.Pos
	ChangedIf     *source.Node
	FailIf        *source.Node
	IgnoreFailure *source.Node
	Tags          []string

	Module    string
	ModulePos source.Pos
	Args      *source.Node

	Use    string
	UsePos source.Pos
	With   *source.Node

	Guard     *Guard // of a block
	Block     bool
	OnFailure string // of a block: stop (the default), rollback
	FailPos   source.Pos
	Tasks     []*Entry
	Rescue    []*Entry
	Always    []*Entry
}

// Guard is the dead man's switch of a block: unless every path is proved in time,
// the host takes the block back.
type Guard struct {
	Pos    source.Pos
	Via    []Via
	Within time.Duration
	// Lasts is the expression that says how long it waits; nil: Within is known.
	Lasts *source.Node
}

// Via is a way into the host that must work after the block. Each value may be an
// expression; nil is as the inventory has it.
type Via struct {
	Pos                 source.Pos
	User, Port, Address *source.Node
}

// DefaultWithin is how long a guard waits that names no time.
const DefaultWithin = 90 * time.Second

// What a guard may be told to wait.
const (
	leastWithin = 10 * time.Second
	mostWithin  = time.Hour
)

// ParseWithin reads how long a guard waits.
func ParseWithin(text string) (time.Duration, error) { return between(text, leastWithin, mostWithin) }

// Rollback is the on_failure that takes back what was changed.
const Rollback = "rollback"

// DefaultTimeout is the time limit of a task that names none.
const DefaultTimeout = 10 * time.Minute
