// Package assert fails unless conditions hold.
package assert

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"holdfast/tasks/task"
)

//go:embed doc.md
var doc string

// Params is what a playbook asks for.
type Params struct {
	That    []bool  `yaml:"that" validate:"required,min=1" doc:"Conditions that must all hold, each an expression."`
	Message *string `yaml:"message" doc:"What to say when one does not, and what to do about it."`
}

// Result counts the conditions.
type Result struct {
	Checked int64 `yaml:"checked" json:"checked" doc:"How many conditions hold."`
}

// Module checks conditions.
var Module = task.NewAction(task.ActionDef[Params, Result]{
	Name: "assert", Doc: doc,
	Resource: resource,
	ReadOnly: true,
	Run:      run,
})

func resource(p Params) string {
	if p.Message != nil && *p.Message != "" {
		return *p.Message
	}
	return fmt.Sprintf("%d conditions", len(p.That))
}

func run(ctx context.Context, _ task.Writer, p Params) (Result, error) {
	var broken []string
	for i, ok := range p.That {
		if !ok {
			broken = append(broken, strconv.Itoa(i+1))
		}
	}
	if len(broken) == 0 {
		return Result{Checked: int64(len(p.That))}, ctx.Err()
	}
	if p.Message != nil && *p.Message != "" {
		return Result{}, errors.New(*p.Message)
	}
	word := "condition"
	if len(broken) > 1 {
		word = "conditions"
	}
	return Result{}, fmt.Errorf("%s %s of %d: not true", word, strings.Join(broken, ", "), len(p.That))
}
