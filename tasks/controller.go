//go:build !helper

package tasks

import "holdfast/tasks/task"

// onController are the modules that work with on: controller alone.
func onController() []*task.Module {
	return []*task.Module{}
}
