package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"holdfast/runner/journal"
)

// The outcomes of taking back one resource. In a plan, Undone means that it would be.
const (
	Undone       = "undone"
	Already      = "already"      // as it was before the run
	Refused      = "refused"      // somebody else changed it since
	Failed       = "failed"       // taking it back went wrong
	Irreversible = "irreversible" // nothing can take it back
)

// ErrIrreversible is what UndoOptions.Command answers for a task without an Undo.
var ErrIrreversible = errors.New("what a command did cannot be taken back")

// UndoOptions say how a run is taken back.
type UndoOptions struct {
	Only     []string // resources, of entries or of tasks; empty means all
	Plan     bool     // only say what would happen
	Force    bool     // also take back what was changed since
	Progress func(string)
	Fence    func() error
	// Into is the journal of the undo itself, so that it can be taken back. It may
	// be nil in a plan.
	Into *journal.Journal
	// Command takes back what the commands of a task did, through the module's Undo.
	// It is called once for a task that ran commands, before the task's other
	// changes are taken back, and not in a plan. nil means that no module has one.
	Command func(context.Context, *journal.TaskRecord) error
	// HasCommand says in a plan whether Command could take the task back, and why not.
	HasCommand func(*journal.TaskRecord) error
}

// UndoResult is what became of one resource.
type UndoResult struct {
	Resource string `json:"resource"`
	Task     string `json:"task"`
	Action   string `json:"action,omitempty"`
	Status   string `json:"status"`
	Message  string `json:"message,omitempty"`
	Broke    bool   `json:"-"` // the task itself had failed
}

// Undo takes a run back, its last act first. A resource that was changed by somebody
// else since is left alone as a whole; the others are taken back. The error is for
// what ended the undo as such; each resource's own outcome is in the results, in the
// order in which they were dealt with.
func (m *Machine) Undo(ctx context.Context, rec *journal.Record, o UndoOptions) ([]UndoResult, error) {
	if o.Into == nil && !o.Plan {
		return nil, errors.New("internal error: an undo without a journal")
	}
	u := &undo{m: m, rec: rec, o: o, byName: map[string]int{}, expect: expectations(rec), origin: origins(rec), reload: map[string]bool{}}
	for i := len(rec.Tasks) - 1; i >= 0; i-- {
		if err := u.task(ctx, rec.Tasks[i]); err != nil {
			return u.results, err
		}
	}
	return u.results, u.reloadAll(ctx)
}

// undo is one run on its way back.
type undo struct {
	m       *Machine
	rec     *journal.Record
	o       UndoOptions
	results []UndoResult
	byName  map[string]int     // resource to result
	expect  map[string]imprint // how each path was left by the run
	origin  map[string]imprint // how each path was before the run
	unitsOf bool               // unit files were put back since the last reload
	reload  map[string]bool    // accounts whose managers the run reloaded
	planned accountLines       // the databases of accounts as a plan would leave them so far
}

// expectations adds up, per path, what the run's entries say about its end.
func expectations(rec *journal.Record) map[string]imprint {
	out := map[string]imprint{}
	for _, e := range rec.Entries {
		if e.Finished && strings.HasPrefix(e.Resource, "/") {
			out[e.Resource] = parseImprint(e.After).over(out[e.Resource])
		}
	}
	return out
}

// origins adds up, per path, what the run's before-images say about its beginning.
func origins(rec *journal.Record) map[string]imprint {
	out := map[string]imprint{}
	for _, e := range rec.Entries {
		before, err := decode[image](e.Before)
		if err != nil || !strings.HasPrefix(e.Resource, "/") {
			continue
		}
		if first, ok := out[e.Resource]; ok {
			out[e.Resource] = first.over(before.imprint())
		} else {
			out[e.Resource] = before.imprint()
		}
	}
	return out
}

func (u *undo) wanted(t *journal.TaskRecord, resource string) bool {
	return len(u.o.Only) == 0 || slices.Contains(u.o.Only, resource) || slices.Contains(u.o.Only, t.Resource)
}

func (u *undo) task(ctx context.Context, t *journal.TaskRecord) error {
	if !slices.ContainsFunc(t.Entries, func(e *journal.Entry) bool { return u.wanted(t, e.Resource) }) {
		return nil
	}
	w := &writer{reader: reader{m: u.m, user: t.RunAs}}
	w.s = Session{Journal: u.o.Into, RunAs: t.RunAs, Progress: u.o.Progress, Fence: u.o.Fence}
	if !u.o.Plan {
		into, err := u.o.Into.Task(journal.TaskInfo{Step: t.Step, Path: t.Path, Name: t.Name, Module: "undo", Resource: t.Resource, RunAs: t.RunAs})
		if err != nil {
			return err
		}
		w.s.Task = into
	}
	if err := u.commands(ctx, t); err != nil {
		return err
	}
	changed := false
	for i := len(t.Entries) - 1; i >= 0; i-- {
		e := t.Entries[i]
		if e.Op == opRun || !u.wanted(t, e.Resource) || u.stopped(e.Resource) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("cannot go on with the undo: %w", err)
		}
		r := u.entry(ctx, w, t, e)
		if e.Op == opReload && r.Status == Already {
			continue // it is only remembered for the end
		}
		changed = changed || r.Status == Undone
		u.add(r)
	}
	if u.o.Plan {
		return nil
	}
	if changed {
		u.again(ctx, w, t)
	}
	return w.s.Task.Finish(journal.TaskEnd{Status: "changed", Changed: changed})
}

// commands takes back what the commands of a task did.
func (u *undo) commands(ctx context.Context, t *journal.TaskRecord) error {
	var ran []*journal.Entry
	for _, e := range t.Entries {
		if e.Op == opRun && u.wanted(t, e.Resource) {
			ran = append(ran, e)
		}
	}
	if len(ran) == 0 {
		return nil
	}
	r := UndoResult{Resource: ran[0].Resource, Task: taskName(t), Action: "run its undo", Status: Undone}
	var err error
	switch {
	case u.o.Plan:
		if err = ErrIrreversible; u.o.HasCommand != nil {
			err = u.o.HasCommand(t)
		}
	case u.o.Command == nil:
		err = ErrIrreversible
	default:
		err = u.o.Command(ctx, t)
	}
	if errors.Is(err, ErrIrreversible) && t.Handler != "" {
		return ctx.Err() // what a handler does is done again, not taken back
	}
	r.Broke = t.End != nil && t.End.Status == "failed"
	if errors.Is(err, ErrIrreversible) {
		r.Status, r.Action, r.Message = Irreversible, "", err.Error()
	} else if err != nil {
		r.Status, r.Message = Failed, err.Error()
	}
	u.results = append(u.results, r) // each task's commands are a thing of their own
	return ctx.Err()
}

func taskName(t *journal.TaskRecord) string {
	if t.Name != "" {
		return t.Name
	}
	return t.Module + " " + t.Resource
}

// stopped reports whether the resource must be left alone from here on.
func (u *undo) stopped(resource string) bool {
	i, ok := u.byName[resource]
	return ok && (u.results[i].Status == Refused || u.results[i].Status == Failed)
}

// add joins the outcome of an entry with that of later entries on the same resource.
func (u *undo) add(r UndoResult) {
	i, ok := u.byName[r.Resource]
	if !ok {
		u.byName[r.Resource] = len(u.results)
		u.results = append(u.results, r)
		return
	}
	old := &u.results[i]
	if r.Status == Already {
		return
	}
	old.Status, old.Action, old.Task = r.Status, r.Action, r.Task
	if r.Message != "" {
		old.Message = r.Message
	}
}

// step is what taking back one entry comes to. act is nil when nothing is to be done.
type step struct {
	action  string
	refused string
	act     func() error
	message string // said when it is done
}

// entry takes one entry back.
func (u *undo) entry(ctx context.Context, w *writer, t *journal.TaskRecord, e *journal.Entry) UndoResult {
	r := UndoResult{Resource: e.Resource, Task: taskName(t)}
	s, err := u.prepare(ctx, w, e)
	if _, seen := u.byName[e.Resource]; seen && u.o.Plan && err == nil {
		// The host is not what it would be by now; the last entry's look must do.
		if r.Status = Already; s.action != "" {
			r.Status, r.Action = Undone, s.action
		}
		return r
	}
	switch {
	case err != nil:
		r.Status, r.Message = Failed, err.Error()
	case s.refused != "" && !u.o.Force:
		r.Status, r.Action, r.Message = Refused, s.action, s.refused
	case s.act == nil:
		r.Status, r.Message = Already, s.message
	default:
		r.Status, r.Action, r.Message = Undone, s.action, s.message
		if u.o.Plan {
			break
		}
		if u.o.Progress != nil {
			u.o.Progress(s.action)
		}
		if err := s.act(); err != nil {
			r.Status, r.Message = Failed, err.Error()
		} else if strings.Contains(e.Resource, "/systemd/") {
			u.unitsOf = true
		}
	}
	return r
}

func (u *undo) prepare(ctx context.Context, w *writer, e *journal.Entry) (step, error) {
	switch e.Op {
	case opWrite, opDir, opLink, opRemove, opMode, opOwner, opTree, opRmdir, opUnpack:
		return u.file(ctx, w, e)
	case opUser, opUserDel, opGroup, opGroupDel, opLines:
		return u.accounts(ctx, w, e)
	case opHome:
		return u.home(ctx, w, e)
	case opInstall, opDrop:
		return u.packages(ctx, w, e)
	case opUnit:
		return u.unit(ctx, w, e)
	case opReload:
		user, err := decode[string](e.Want)
		u.reload[user] = true
		return step{}, err
	case opLinger:
		return u.lingering(ctx, w, e)
	case opParam:
		return u.param(ctx, w, e)
	}
	return step{}, fmt.Errorf("cannot take back %q: a newer holdfast wrote it", e.Op)
}

// reloadAll makes the service managers read the unit files that were put back.
func (u *undo) reloadAll(ctx context.Context) error {
	if !u.unitsOf || u.o.Plan {
		return nil
	}
	u.unitsOf = false
	if len(u.reload) == 0 {
		u.reload[""] = true
	}
	t, err := u.o.Into.Task(journal.TaskInfo{Module: "undo", Name: "reload the units"})
	if err != nil {
		return err
	}
	w := &writer{reader: reader{m: u.m}, s: Session{Task: t, Journal: u.o.Into, Fence: u.o.Fence}}
	var errs []error
	for _, user := range sortedKeys(u.reload) {
		err := w.ReloadUnits(ctx, user)
		if user != "" && u.m.managerGone(ctx, user) {
			continue // a manager that starts later reads the files anyway
		}
		errs = append(errs, err)
	}
	return errors.Join(append(errs, t.Finish(journal.TaskEnd{Status: "changed"}))...)
}

func (u *undo) param(ctx context.Context, w *writer, e *journal.Entry) (step, error) {
	before, err := decode[paramState](e.Before)
	if err != nil {
		return step{}, err
	}
	now, ok, err := w.KernelParam(ctx, before.Name)
	if err != nil || !ok || now == before.Value {
		return step{}, err
	}
	s := step{action: fmt.Sprintf("set it back to %s", before.Value)}
	if e.Finished && now != e.After {
		s.refused = fmt.Sprintf("it is now %s, not %s", now, e.After)
	}
	s.act = func() error { return w.SetKernelParam(ctx, before.Name, before.Value) }
	return s, nil
}

func (u *undo) lingering(ctx context.Context, w *writer, e *journal.Entry) (step, error) {
	before, err := decode[lingerState](e.Before)
	if err != nil {
		return step{}, err
	}
	now, err := w.Linger(ctx, before.User)
	if err != nil || now == before.On {
		return step{}, err
	}
	s := step{action: "turn lingering off"}
	if before.On {
		s.action = "turn lingering on"
	}
	s.act = func() error { return w.SetLinger(ctx, before.User, before.On) }
	return s, nil
}
