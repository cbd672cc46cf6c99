// Package tasks lists the task modules. Each has a folder of its own here.
package tasks

import (
	"holdfast/tasks/file"
	"holdfast/tasks/task"
)

// All returns every module, sorted by name.
func All() []*task.Module {
	return []*task.Module{
		file.Module,
	}
}
