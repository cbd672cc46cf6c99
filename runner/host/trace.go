package host

import (
	"context"
	"fmt"
	"io"
	"strings"

	"holdfast/runner/journal"
	"holdfast/tasks/task"
)

// Blobs is the journal that entries belong to, open or read.
type Blobs interface {
	Open(name string) (io.ReadCloser, error)
}

// Trace is what a task did to one resource. Before and After are fingerprints that
// can be compared with those of other traces of the resource and with the present
// one; an empty one is not known.
type Trace struct {
	Resource   string
	Did        string // what was done, in words
	Before     string
	After      string
	Entry      int  // the last entry of the journal that is in it
	Unfinished bool // it began, and nobody knows how far it came
}

// Tracer turns entries of a journal into traces.
type Tracer struct {
	Machine *Machine
	Blobs   Blobs
	// Mask returns a stand-in for the digest of something secret.
	Mask func(digest string) (string, error)
}

// Task returns what the entries of one task did, one trace for each resource, in the
// order in which they were first touched. A change that began and left its resource
// as it was is none.
func (t *Tracer) Task(ctx context.Context, entries []*journal.Entry) ([]Trace, error) {
	var out []Trace
	at := map[string]int{}
	for _, e := range entries {
		list, err := t.entry(ctx, e)
		if err != nil {
			return nil, fmt.Errorf("cannot tell what was done to %s: %w", e.Resource, err)
		}
		for _, next := range list {
			next.Entry = e.Seq
			i, ok := at[next.Resource]
			if !ok {
				at[next.Resource] = len(out)
				out = append(out, next)
				continue
			}
			out[i] = out[i].then(next)
		}
	}
	return out, nil
}

// then joins two traces of one resource.
func (t Trace) then(next Trace) Trace {
	t.Before = Fold(t.Resource, next.Before, t.Before)
	t.After = Fold(t.Resource, t.After, next.After)
	if next.Unfinished {
		t.After = ""
	}
	if !strings.Contains(t.Did, next.Did) {
		t.Did += ", " + next.Did
	}
	t.Entry, t.Unfinished = next.Entry, next.Unfinished
	return t
}

func (t *Tracer) entry(ctx context.Context, e *journal.Entry) ([]Trace, error) {
	switch e.Op {
	case opWrite, opDir, opLink, opRemove, opMode, opOwner, opTree, opRmdir, opUnpack:
		return t.file(ctx, e)
	case opUser, opUserDel, opGroup, opGroupDel, opLines:
		return t.accounts(e)
	case opHome:
		made, err := decode[homeMade](e.Before)
		return t.one(ctx, e, Trace{Resource: made.Home, Did: "make the home", Before: imprint{kind: task.KindNone}.String(), After: e.After}), err
	case opInstall, opDrop:
		return t.packages(ctx, e)
	case opUnit:
		b, err := decode[unitState](e.Before)
		return t.one(ctx, e, Trace{Resource: e.Resource, Did: strings.ReplaceAll(unitAction(b.Change), " it", ""), Before: unitPrint(b.State, b.Change), After: e.After}), err
	case opLinger:
		b, err := decode[lingerState](e.Before)
		return t.one(ctx, e, Trace{Resource: e.Resource, Did: "set", Before: lingerPrint(b.On), After: e.After}), err
	case opParam:
		b, err := decode[paramState](e.Before)
		return t.one(ctx, e, Trace{Resource: e.Resource, Did: "set", Before: b.Value, After: e.After}), err
	case opRun:
		return t.one(ctx, e, Trace{Resource: e.Resource, Did: "run", After: e.After}), nil
	}
	return nil, nil // such as a reload of units, which changes nothing
}

// one is the trace of an entry about one resource. One that is not finished counts
// unless the resource is as it was before.
func (t *Tracer) one(ctx context.Context, e *journal.Entry, trace Trace) []Trace {
	if e.Finished {
		return []Trace{trace}
	}
	trace.After, trace.Unfinished = "", true
	if trace.Before != "" {
		now, err := t.Machine.Fingerprint(ctx, trace.Resource, trace.Before, t.Mask)
		if err == nil && now != "" && Differs(trace.Resource, trace.Before, now) == "" {
			return nil
		}
	}
	return []Trace{trace}
}

// did says in words what an operation on a path is.
var did = map[string]string{opWrite: "write", opDir: "make the directory", opLink: "link", opUnpack: "unpack", opRemove: "remove", opMode: "set mode",
	opOwner: "set owner", opTree: "put the directory back", opRmdir: "remove the directory"}

func (t *Tracer) file(ctx context.Context, e *journal.Entry) ([]Trace, error) {
	before, err := decode[image](e.Before)
	if err != nil {
		return nil, err
	}
	trace := Trace{Resource: e.Resource, Did: did[e.Op]}
	after := parseImprint(e.After)
	b := before.imprint()
	for _, p := range []*imprint{&b, &after} {
		if !before.Secret {
			continue
		}
		if err := p.mask(t.Mask); err != nil {
			return nil, err
		}
	}
	trace.Before = b.String()
	if e.Finished {
		trace.After = after.String()
	}
	return t.one(ctx, e, trace), nil
}

// The ways in which a fingerprint tells the content of a path.
const (
	plainContent  = "sha256="
	treeContent   = "tree=" // of a directory, see place.tree
	maskedContent = "masked="
)

// mask puts a stand-in in place of the digest.
func (p *imprint) mask(mask func(string) (string, error)) error {
	digest, ok := strings.CutPrefix(p.content, plainContent)
	if !ok {
		return nil
	}
	masked, err := mask(digest)
	p.content = maskedContent + masked
	return err
}

// accounts traces a change of the databases of accounts: one trace for each account
// and group whose lines changed.
func (t *Tracer) accounts(e *journal.Entry) ([]Trace, error) {
	b, err := decode[accountBefore](e.Before)
	if err != nil {
		return nil, err
	}
	before, err := blobOf[accountLines](t.Blobs, b.Lines)
	if err != nil {
		return nil, err
	}
	changes, err := t.accountChanges(e, before, b.Name)
	if err != nil {
		return nil, err
	}
	after := before.clone()
	resources := []string{e.Resource}
	for _, c := range changes {
		after.set(c.File, c.Key, c.After, c.At)
		resources = append(resources, accountOf(c))
	}
	var out []Trace
	seen := map[string]bool{"accounts": true}
	for _, r := range resources {
		if seen[r] {
			continue
		}
		seen[r] = true
		trace := Trace{Resource: r, Did: "set up", Before: before.print(r), After: after.print(r)}
		switch {
		case trace.After == absentAccount:
			trace.Did = "delete"
		case trace.Before == trace.After && (r != e.Resource || !e.Finished):
			continue
		}
		if !e.Finished {
			trace.After, trace.Unfinished = "", true
		}
		out = append(out, trace)
	}
	return out, nil
}

func (t *Tracer) accountChanges(e *journal.Entry, before accountLines, name string) ([]lineChange, error) {
	if e.Finished {
		done, err := decode[accountDone](e.Result)
		if err != nil {
			return nil, err
		}
		return blobOf[[]lineChange](t.Blobs, done.Changes)
	}
	now, err := t.Machine.accountLines()
	return concern(before.changes(now), name), err
}

// accountOf returns the resource that a line belongs to.
func accountOf(c lineChange) string {
	if c.File == groupFile || c.File == gshadowFile {
		return "group:" + c.Key
	}
	return "user:" + c.Key
}

func (t *Tracer) packages(ctx context.Context, e *journal.Entry) ([]Trace, error) {
	if len(e.Result) == 0 {
		return t.packagesCutOff(ctx, e)
	}
	d, err := decode[packagesDelta](e.Result)
	if err != nil {
		return nil, err
	}
	var out []Trace
	add := func(resource, did, before, after string) {
		out = append(out, Trace{Resource: resource, Did: did, Before: before, After: after})
	}
	for _, name := range sortedKeys(d.Installed) {
		add("package:"+name, "install", absentPackage, d.Installed[name])
	}
	for _, name := range sortedKeys(d.Changed) {
		add("package:"+name, "change the version", d.Changed[name][0], d.Changed[name][1])
	}
	for _, name := range sortedKeys(d.Removed) {
		add("package:"+name, "remove", d.Removed[name], absentPackage)
	}
	for _, line := range d.Accounts {
		// The lines themselves are not kept: what the account is like is not known.
		if file, key, _ := strings.Cut(line, ":"); file == passwdFile || file == groupFile {
			add(accountOf(lineChange{File: file, Key: key}), "came with a package", absentAccount, "")
		}
	}
	return out, nil
}

// packagesCutOff traces a change of packages of which nobody wrote the end: of those
// that were asked for, the ones that are not as they were.
func (t *Tracer) packagesCutOff(ctx context.Context, e *journal.Entry) ([]Trace, error) {
	b, err := decode[packagesBefore](e.Before)
	if err != nil {
		return nil, err
	}
	was, err := blobOf[map[string]string](t.Blobs, b.Snapshot)
	if err != nil {
		return nil, err
	}
	names, err := decode[[]string](e.Want)
	if err != nil {
		return nil, err
	}
	var out []Trace
	for _, name := range names {
		before := was[name]
		if before == "" {
			before = absentPackage
		}
		what := map[string]string{opInstall: "install", opDrop: "remove"}[e.Op]
		out = append(out, t.one(ctx, e, Trace{Resource: "package:" + name, Did: what, Before: before})...)
	}
	return out, nil
}
