package command_test

import (
	"testing"

	"holdfast/tasks/command"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, command.Module) }
