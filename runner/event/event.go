// Package event holds what a run tells the world, one struct per kind. The
// engine emits events and prints nothing; live view, plain lines, JSON lines and
// reports are readers of the same stream.
//
// Rules of the stream:
//
//   - the first event is RunStarted, the last RunFinished; everything between
//     that concerns a host carries its name, and what concerns a task carries the
//     task's number, name and place in the playbook;
//   - a stream stays valid when every Progress is removed;
//   - times and durations are in fields of their own, so that tests can drop them;
//   - a reader checks Protocol in RunStarted and refuses a newer one;
//   - a kind that a reader does not know is shown as such, not dropped.
package event

import (
	"time"

	"holdfast/playbooks/source"
	"holdfast/tasks/task"
)

// Protocol is the version of the stream. It rises when an old reader would
// misunderstand a new stream, not when a kind or a field is added.
const Protocol = 1

// Event is one thing that happened. Exactly one of the pointers is set.
type Event struct {
	Time time.Time `json:"time"`
	Host string    `json:"host,omitempty"` // empty for what concerns the whole run

	RunStarted    *RunStarted    `json:"run_started,omitempty"`
	Wave          *Wave          `json:"wave,omitempty"`
	HostConnected *HostConnected `json:"host_connected,omitempty"`
	HelperPushed  *HelperPushed  `json:"helper_pushed,omitempty"`
	TaskStarted   *TaskStarted   `json:"task_started,omitempty"`
	TaskFinished  *TaskFinished  `json:"task_finished,omitempty"`
	Progress      *Progress      `json:"progress,omitempty"`
	HandlerQueued *HandlerQueued `json:"handler_queued,omitempty"`
	Undone        *Undone        `json:"undone,omitempty"`
	Guard         *Guard         `json:"guard,omitempty"`
	Rollback      *Rollback      `json:"rollback,omitempty"`
	Warning       *Warning       `json:"warning,omitempty"`
	HostUnreached *HostUnreached `json:"host_unreachable,omitempty"`
	HostFinished  *HostFinished  `json:"host_finished,omitempty"`
	RunFinished   *RunFinished   `json:"run_finished,omitempty"`
	Unknown       string         `json:"-"` // the name of a kind from a newer writer
}

// Mode is what a run does.
type Mode string

// The modes of a run.
const (
	Plan   Mode = "plan"
	Apply  Mode = "apply"
	Verify Mode = "verify"
	Undo   Mode = "undo"
	// UndoPlan says what an undo would do: Undone events tell of what would be undone.
	UndoPlan Mode = "undo-plan"
	// Attach follows a run that goes on without the controller that began it.
	Attach Mode = "attach"
)

// RunStarted opens the stream.
type RunStarted struct {
	Protocol int      `json:"protocol"`
	Run      string   `json:"run"` // sortable and unique: 20060102-150405-xxxx
	Mode     Mode     `json:"mode"`
	Playbook string   `json:"playbook,omitempty"`
	Version  string   `json:"version,omitempty"`
	Origin   string   `json:"origin,omitempty"` // where the playbook was found
	Hosts    []string `json:"hosts"`
	Tasks    int      `json:"tasks"` // entries in the playbook, for progress
	UndoOf   string   `json:"undo_of,omitempty"`
	AttachTo string   `json:"attach_to,omitempty"` // the run that is followed
}

// Wave says that the next hosts of a rollout have their turn.
type Wave struct {
	Number int      `json:"number"`
	Of     int      `json:"of"`
	Hosts  []string `json:"hosts"`
}

// HostConnected says that a helper answered.
type HostConnected struct {
	Address  string        `json:"address"`
	User     string        `json:"user"`
	Root     bool          `json:"root"`
	OS       string        `json:"os"`
	Helper   string        `json:"helper"` // build hash
	Duration time.Duration `json:"duration"`
}

// HelperPushed says that the helper had to be sent.
type HelperPushed struct {
	Bytes    int64         `json:"bytes"`
	Platform string        `json:"platform"`
	Path     string        `json:"path"`
	Duration time.Duration `json:"duration"`
}

// Task names the task that an event is about.
type Task struct {
	Step     int        `json:"step"` // counts from 1 on each host
	Name     string     `json:"name"`
	Module   string     `json:"module"`
	Resource string     `json:"resource,omitempty"`
	Path     string     `json:"path"` // tasks[3], handlers["reload ssh"][0], verify[2]
	Pos      source.Pos `json:"pos"`
	Handler  string     `json:"handler,omitempty"` // set when it runs as part of a handler
	On       string     `json:"on,omitempty"`      // controller, when it works there and not on the host
}

// TaskStarted says that a task began on a host.
type TaskStarted struct {
	Task
}

// Status is how a task ended.
type Status string

// How tasks end. In a plan, Changed means "would change", Run "will run",
// Unknown "cannot be known before the run".
const (
	Unchanged Status = "unchanged"
	Changed   Status = "changed"
	Ran       Status = "ran" // an action that says it changed nothing, or a plan's "will run"
	Skipped   Status = "skipped"
	Failed    Status = "failed"
	Unknown   Status = "unknown"
	Ignored   Status = "ignored" // failed, and the playbook says to go on
)

// TaskFinished is the outcome of a task on a host.
type TaskFinished struct {
	Task
	Status       Status        `json:"status"`
	Changes      []task.Change `json:"changes,omitempty"`
	Reason       string        `json:"reason,omitempty"` // why skipped or unknown
	Error        string        `json:"error,omitempty"`  // of a failure
	Hint         string        `json:"hint,omitempty"`
	Tentative    string        `json:"tentative,omitempty"`    // what the prediction rests on
	Output       string        `json:"output,omitempty"`       // last lines of a command
	Irreversible string        `json:"irreversible,omitempty"` // why the run cannot take this back
	Finding      *task.Finding `json:"finding,omitempty"`      // the line of the scorecard that it made
	Attempts     int           `json:"attempts,omitempty"`
	Duration     time.Duration `json:"duration"`
}

// Progress says what a long task is doing.
type Progress struct {
	Task    Task   `json:"task"`
	Message string `json:"message"`
}

// HandlerQueued says that a handler was notified. Pending handlers come from a
// run that died before it could run them.
type HandlerQueued struct {
	Handler string `json:"handler"`
	Pending string `json:"pending,omitempty"` // the run that left it
}

// Undone is the outcome of taking one resource back.
type Undone struct {
	Resource string `json:"resource"`
	Task     string `json:"task,omitempty"`
	Action   string `json:"action"` // what was, or would be, done
	Status   string `json:"status"` // undone, already, refused, failed, irreversible
	Message  string `json:"message,omitempty"`
}

// Guard says how the guard of a host stands.
type Guard struct {
	// Status is armed, proved or unproved (one path), confirmed, undone, or broken
	// when not all could be taken back. The last three are the host's verdict.
	Status  string        `json:"status"`
	Paths   []string      `json:"paths,omitempty"` // what must be, or was, proved
	Within  time.Duration `json:"within,omitempty"`
	Message string        `json:"message,omitempty"`
	Error   string        `json:"error,omitempty"` // why a path could not be proved
}

// Rollback says that what a run changed on a host is taken back because a task failed.
// Undone events between its beginning and its end say what became of each resource.
type Rollback struct {
	// Status is began, undone, nothing when there was nothing to take back, or broken
	// when not all could be.
	Status  string `json:"status"`
	Block   string `json:"block,omitempty"` // its name; empty for the whole play
	Message string `json:"message,omitempty"`
	Hint    string `json:"hint,omitempty"`
}

// Warning is something that a person should know and that stops nothing.
type Warning struct {
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// HostUnreached says that a host could not be worked on at all, or was lost.
type HostUnreached struct {
	Error string `json:"error"`
	Hint  string `json:"hint,omitempty"`
	// Lost is set when the connection broke in the middle of a run.
	Lost bool `json:"lost,omitempty"`
}

// Counts are the outcomes of tasks on a host.
type Counts struct {
	Unchanged int `json:"unchanged"`
	Changed   int `json:"changed"`
	Ran       int `json:"ran"`
	Skipped   int `json:"skipped"`
	Failed    int `json:"failed"`
	Unknown   int `json:"unknown"`
	Ignored   int `json:"ignored"`
	Undone    int `json:"undone,omitempty"`
	Refused   int `json:"refused,omitempty"`
}

// HostStatus is how a host came out of a run.
type HostStatus string

// How hosts come out of a run.
const (
	HostOK          HostStatus = "ok"
	HostFailed      HostStatus = "failed"
	HostUnreachable HostStatus = "unreachable"
	HostRolledBack  HostStatus = "rolled-back"
	HostBroken      HostStatus = "rollback-failed" // look at it now
	HostInterrupted HostStatus = "interrupted"
	HostNotStarted  HostStatus = "not-started"
	HostDetached    HostStatus = "detached" // it goes on alone
)

// HostFinished is the outcome of a host.
type HostFinished struct {
	Status   HostStatus    `json:"status"`
	Counts   Counts        `json:"counts"`
	Duration time.Duration `json:"duration"`
	// Traffic of the connection, for those who count.
	BytesUp    int64 `json:"bytes_up,omitempty"`
	BytesDown  int64 `json:"bytes_down,omitempty"`
	RoundTrips int64 `json:"round_trips,omitempty"`
}

// RunFinished closes the stream. Code is the exit status of the program.
type RunFinished struct {
	Code        int           `json:"code"`
	Duration    time.Duration `json:"duration"`
	Hosts       int           `json:"hosts"`
	OK          int           `json:"ok"`
	Failed      int           `json:"failed"`
	Unreachable int           `json:"unreachable"`
	Changed     int           `json:"changed"`            // hosts with a change
	Detached    int           `json:"detached,omitempty"` // hosts that go on alone
	Interrupted bool          `json:"interrupted,omitempty"`
}

// Sink takes events. Emit never fails the engine and does not block it for long;
// it may be called by several goroutines.
type Sink interface {
	Emit(Event)
}

// SinkFunc is a function as a Sink.
type SinkFunc func(Event)

// Emit calls f.
func (f SinkFunc) Emit(e Event) { f(e) }
