package wire

import (
	"encoding/json"
	"time"

	"holdfast/tasks/task"
)

// Message is one thing said. Exactly one pointer is set.
type Message struct {
	Hello       *Hello       `json:"hello,omitempty"`   // near, first
	Welcome     *Welcome     `json:"welcome,omitempty"` // far, first
	Program     *Program     `json:"program,omitempty"` // near
	Undo        *Undo        `json:"undo,omitempty"`    // near
	Ask         *Ask         `json:"ask,omitempty"`     // near
	Cancel      *Cancel      `json:"cancel,omitempty"`  // near, at any time
	NoBlob      *NoBlob      `json:"no_blob,omitempty"` // near, answers NeedBlob
	Started     *Started     `json:"started,omitempty"` // far
	Result      *Result      `json:"result,omitempty"`  // far
	Undone      *Undone      `json:"undone,omitempty"`  // far
	Progress    *Progress    `json:"progress,omitempty"`
	NeedBlob    *NeedBlob    `json:"need_blob,omitempty"`
	Warning     *Warning     `json:"warning,omitempty"`
	Done        *Done        `json:"done,omitempty"`        // far, ends a program or an undo
	Answer      *Answer      `json:"answer,omitempty"`      // far, answers Ask
	Refused     *Refused     `json:"refused,omitempty"`     // far, instead of Welcome, Done or Answer
	Unsupported *Unsupported `json:"unsupported,omitempty"` // either
	Leave       *Leave       `json:"leave,omitempty"`       // near, last
	Guard       *Guard       `json:"guard,omitempty"`       // near
	GuardState  *GuardState  `json:"guard_state,omitempty"` // far, answers Guard
}

// Hello opens the talk and says what run this is.
type Hello struct {
	Min      int    `json:"min"`
	Max      int    `json:"max"`
	Build    string `json:"build"` // hash of the controller's helper for this platform
	Run      string `json:"run"`
	Mode     string `json:"mode"` // plan, apply, verify, undo, facts, ask
	Playbook string `json:"playbook,omitempty"`
	Version  string `json:"version,omitempty"`
	// Resume goes on with the journal of the run, which an earlier session of it closed:
	// the host was rebooted in between.
	Resume bool `json:"resume,omitempty"`
	// Controller, User and Command name the holder of the host's lock for others.
	Controller string `json:"controller,omitempty"`
	User       string `json:"user,omitempty"`
	Command    string `json:"command,omitempty"`
	Key        string `json:"key,omitempty"` // fingerprint of the SSH key that logged in
	// Guard is the one question of a talk about the guard: the welcome answers it, and
	// the helper ends.
	Guard *Guard `json:"guard,omitempty"`
	// Reattach is how long the run waits on the host for a controller that it lost; 0
	// ends it after its current step. A detached run needs none: it goes on alone.
	Reattach time.Duration `json:"reattach,omitempty"`
	Detach   bool          `json:"detach,omitempty"`
	// Token is the controller's own: who knows it may take its place at any time.
	Token  string  `json:"token,omitempty"`
	Attach *Attach `json:"attach,omitempty"` // in mode attach
}

// Attach asks to talk to the run that works on the host.
type Attach struct {
	Run  string `json:"run"`            // "" for whichever it is
	Seen int    `json:"seen,omitempty"` // frames that came before; the host goes on after them
	// Action is attach, abort (stop after the current atomic step), kill (stop now), or
	// yield (stop, but only if no controller is there and nothing is being done).
	Action string `json:"action"`
}

// The actions of [Attach].
const (
	AttachFollow = "attach"
	AttachAbort  = "abort"
	AttachKill   = "kill"
	AttachYield  = "yield"
)

// Attached says what the run that was attached to is at.
type Attached struct {
	Run        string `json:"run"`
	Controller string `json:"controller,omitempty"`
	User       string `json:"user,omitempty"`
	Playbook   string `json:"playbook,omitempty"`
	Version    string `json:"version,omitempty"`
	// From is how many frames the host forgot: they were said before the program below.
	From int `json:"from,omitempty"`
	// Program is the last program that arrived, without arguments; nil when none did.
	Program *Program `json:"program,omitempty"`
	Undo    bool     `json:"undo,omitempty"` // a run is being taken back
}

// Leave says that the end of the input will be meant: it is no lost connection.
type Leave struct{}

// Welcome answers Hello.
type Welcome struct {
	Min        int         `json:"min"`
	Max        int         `json:"max"`
	Build      string      `json:"build"`
	Platform   string      `json:"platform"` // linux/amd64
	Facts      *task.Facts `json:"facts"`
	Fence      uint64      `json:"fence,omitempty"`
	GuardState *GuardState `json:"guard_state,omitempty"` // answers Hello.Guard
	// Pending are the handlers that an earlier run left to do.
	Pending []PendingHandler `json:"pending,omitempty"`
	// Warnings tell what the helper did before it was ready.
	Warnings []Warning `json:"warnings,omitempty"`
	Attached *Attached `json:"attached,omitempty"` // in mode attach; nil when no run works here
	Runs     []Run     `json:"runs,omitempty"`     // in modes undo and attach: the runs that can be taken back, newest first
}

// PendingHandler is a handler that an earlier run notified and did not run.
type PendingHandler struct {
	Name string `json:"name"`
	Run  string `json:"run"`
}

// Run is a run that the host remembers.
type Run struct {
	ID       string    `json:"id"`
	Playbook string    `json:"playbook"`
	Version  string    `json:"version,omitempty"`
	Started  time.Time `json:"started"`
	Command  string    `json:"command,omitempty"`
	// Status is succeeded, failed or interrupted; in an Answer also running or died.
	Status     string    `json:"status"`
	Changes    int       `json:"changes"` // resources that it changed; in an Answer, and of the last run in the mode of undo
	UndoOf     string    `json:"undo_of,omitempty"`
	UndoneBy   string    `json:"undone_by,omitempty"`
	Controller string    `json:"controller,omitempty"`
	User       string    `json:"user,omitempty"`
	Ended      time.Time `json:"ended,omitzero"`
}

// Program is a list of resolved tasks, up to the next barrier.
type Program struct {
	ID       int       `json:"id"`
	Steps    []Step    `json:"steps"`
	Handlers []Handler `json:"handlers,omitempty"` // what the notifies of the steps name, in order of definition
	Queue    []string  `json:"queue,omitempty"`    // handlers to queue before the first step
	Drop     []string  `json:"drop,omitempty"`     // handlers to take out of the queue
	Flush    bool      `json:"flush,omitempty"`    // run queued handlers at the end, even after a failure
	Final    bool      `json:"final,omitempty"`    // nothing follows: close the journal
	// Guarded arms the host's guard before the first change that it covers.
	Guarded *Guarded `json:"guarded,omitempty"`
	// Rollback takes back what this run changed, before the steps and the handlers.
	Rollback *Rollback `json:"rollback,omitempty"`
	// Outcome is what the controller knows of the run when Final is set: ok, failed, interrupted.
	Outcome string `json:"outcome,omitempty"`
}

// Step is one resolved task. Arguments are a tree whose scalars are text.
type Step struct {
	N      int             `json:"n"`
	Path   string          `json:"path"`
	Name   string          `json:"name"`
	Module string          `json:"module"`
	Args   json.RawMessage `json:"args"`
	Notify []string        `json:"notify,omitempty"`
	// Satisfies are the handlers that need not run when it changed something.
	Satisfies []string      `json:"satisfies,omitempty"`
	RunAs     string        `json:"run_as,omitempty"`
	Timeout   time.Duration `json:"timeout"`
	Register  bool          `json:"register,omitempty"` // the result comes back
	Hidden    bool          `json:"hidden,omitempty"`   // arguments revealed a secret: no diff, no output
	Risky     bool          `json:"risky,omitempty"`    // it could cut the connection
	Check     bool          `json:"check,omitempty"`    // a difference is a failure and nothing is changed
	Retries   int           `json:"retries,omitempty"`
	Delay     time.Duration `json:"delay,omitempty"`  // between retries
	Ignore    bool          `json:"ignore,omitempty"` // a failure does not stop the program
	Diff      bool          `json:"diff,omitempty"`   // content changes carry a unified diff
}

// Handler is a named list of steps that runs when it was notified.
type Handler struct {
	Name  string `json:"name"`
	Steps []Step `json:"steps"`
}

// Undo takes back a run of the past.
type Undo struct {
	Run   string   `json:"run"`
	Only  []string `json:"only,omitempty"` // resources
	Plan  bool     `json:"plan,omitempty"`
	Force bool     `json:"force,omitempty"`
}

// Cancel stops the program: after the current atomic step, or at once.
type Cancel struct {
	Now bool `json:"now,omitempty"`
}

// NeedBlob asks for content.
type NeedBlob struct {
	Digest string `json:"digest"`
}

// NoBlob says that the content is not to be had.
type NoBlob struct {
	Digest string `json:"digest"`
	Error  string `json:"error"`
}

// Started says that a step begins.
type Started struct {
	N       int    `json:"n"`
	Handler string `json:"handler,omitempty"`
	// Name and Module are set for a handler that an earlier run left, which the
	// controller does not know.
	Name   string `json:"name,omitempty"`
	Module string `json:"module,omitempty"`
}

// Result is the outcome of a step.
type Result struct {
	N            int             `json:"n"`
	Handler      string          `json:"handler,omitempty"`
	Status       string          `json:"status"`
	Resource     string          `json:"resource,omitempty"`
	Changes      []task.Change   `json:"changes,omitempty"`
	State        json.RawMessage `json:"state,omitempty"`
	Reason       string          `json:"reason,omitempty"`
	Error        string          `json:"error,omitempty"`
	Hint         string          `json:"hint,omitempty"`
	Tentative    string          `json:"tentative,omitempty"`
	Output       string          `json:"output,omitempty"`
	Irreversible string          `json:"irreversible,omitempty"`
	Attempts     int             `json:"attempts,omitempty"`
	Took         time.Duration   `json:"took"`
	Queued       []string        `json:"queued,omitempty"`  // handlers that this step put into the queue
	Finding      *task.Finding   `json:"finding,omitempty"` // of a step that makes a line of a scorecard
}

// Undone is the outcome of taking one resource back.
type Undone struct {
	Resource string `json:"resource"`
	Task     string `json:"task,omitempty"`
	Action   string `json:"action"`
	Status   string `json:"status"`
	Message  string `json:"message,omitempty"`
}

// Progress says what a long step is doing.
type Progress struct {
	N       int    `json:"n"`
	Message string `json:"message"`
}

// Warning is something a person should know.
type Warning struct {
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// Done ends a program or an undo.
type Done struct {
	ID        int      `json:"id"`
	Failed    int      `json:"failed,omitempty"` // the step that stopped the program
	Cancelled bool     `json:"cancelled,omitempty"`
	Armed     bool     `json:"armed,omitempty"`   // the guard waits for proof
	Pending   []string `json:"pending,omitempty"` // handlers still to do
	Error     string   `json:"error,omitempty"`
}

// Refused says why the helper will not do it.
type Refused struct {
	Error  string `json:"error"`
	Hint   string `json:"hint,omitempty"`
	Locked bool   `json:"locked,omitempty"` // another run holds the host
}

// Unsupported answers a message of a kind that is not known.
type Unsupported struct {
	Kind string `json:"kind"`
}
