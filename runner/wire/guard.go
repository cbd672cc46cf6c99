package wire

import (
	"fmt"
	"time"

	"holdfast/tasks/task"
)

// Guarded says what a guard covers and how it is confirmed.
type Guarded struct {
	Digest string        `json:"digest"` // SHA-256 of the nonce, in hex
	Within time.Duration `json:"within"`
	Paths  []string      `json:"paths"` // what must be proved, in words
	// Risky covers only the steps whose module can cut the connection, for steps
	// that the author did not put into a guard.
	Risky bool `json:"risky,omitempty"`
	// Also are steps of earlier programs that are taken back too, because what they
	// changed comes into force only now.
	Also []int      `json:"also,omitempty"`
	Ways []task.Way `json:"ways,omitempty"` // what has to stay open
}

// The actions on a guard.
const (
	GuardStatus  = "status"
	GuardProve   = "prove"   // with nonce and path, over a fresh connection
	GuardConfirm = "confirm" // by a person
	GuardAbort   = "abort"   // take the change back now
	GuardExtend  = "extend"
	GuardWait    = "wait" // answer when there is a verdict
)

// Guard asks about the host's guard, or decides it.
type Guard struct {
	Action string        `json:"action"`
	Nonce  string        `json:"nonce,omitempty"`
	Path   int           `json:"path,omitempty"`
	By     time.Duration `json:"by,omitempty"`
}

// GuardState is how the host's guard stands.
type GuardState struct {
	Status  string        `json:"status"`
	Run     string        `json:"run,omitempty"`
	Message string        `json:"message,omitempty"`
	Left    time.Duration `json:"left,omitempty"`
	Paths   []string      `json:"paths,omitempty"`
	Proved  []int         `json:"proved,omitempty"`
	Error   string        `json:"error,omitempty"` // the action was refused
}

// maxPaths bounds the paths of a guard.
const maxPaths = 16

func (g *Guarded) ensureValid() error {
	if len(g.Digest) != 64 || g.Within <= 0 || g.Within > time.Hour || len(g.Paths) == 0 || len(g.Paths) > maxPaths {
		return fmt.Errorf("a guard is out of range")
	}
	if len(g.Also) > maxSteps || len(g.Ways) > maxPaths {
		return fmt.Errorf("a list is too long")
	}
	for _, w := range g.Ways {
		if w.Port < 0 || w.Port > 65535 {
			return fmt.Errorf("a port is out of range")
		}
		if err := names(w.User); err != nil {
			return err
		}
	}
	return names(g.Paths...)
}

func (g *Guard) ensureValid() error {
	switch g.Action {
	case GuardStatus, GuardProve, GuardConfirm, GuardAbort, GuardExtend, GuardWait:
	default:
		return fmt.Errorf("unknown action %q", g.Action)
	}
	if g.Path < 0 || g.By < 0 || g.By > time.Hour {
		return fmt.Errorf("out of range")
	}
	return names(g.Nonce)
}

func (g *GuardState) ensureValid() error {
	if len(g.Paths) > maxPaths || len(g.Proved) > maxPaths || len(g.Message) > maxText || len(g.Error) > maxText {
		return fmt.Errorf("out of range")
	}
	return names(append([]string{g.Status, g.Run}, g.Paths...)...)
}
