//go:build !helper

package tasks

import (
	openclawschema "holdfast/tasks/openclaw_schema"
	"holdfast/tasks/task"
)

// onController are the modules that work with on: controller alone.
func onController() []*task.Module {
	return []*task.Module{
		openclawschema.Module,
	}
}
