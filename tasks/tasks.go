// Package tasks lists the task modules. Each has a folder of its own here.
package tasks

import (
	authorizedkeys "holdfast/tasks/authorized_keys"
	"holdfast/tasks/command"
	"holdfast/tasks/file"
	"holdfast/tasks/group"
	packages "holdfast/tasks/package"
	"holdfast/tasks/script"
	"holdfast/tasks/service"
	"holdfast/tasks/sudoers"
	"holdfast/tasks/sysctl"
	"holdfast/tasks/task"
	"holdfast/tasks/unit"
	"holdfast/tasks/user"
)

// All returns every module, sorted by name.
func All() []*task.Module {
	return []*task.Module{
		authorizedkeys.Module,
		command.Module,
		file.Module,
		group.Module,
		packages.Module,
		script.Module,
		service.Module,
		sudoers.Module,
		sysctl.Module,
		unit.Module,
		user.Module,
	}
}
