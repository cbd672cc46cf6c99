//go:build helper

package tasks

import "holdfast/tasks/task"

// onController are none: the helper that is sent works on a host.
func onController() []*task.Module { return nil }
