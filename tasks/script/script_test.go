package script_test

import (
	"testing"

	"holdfast/tasks/script"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, script.Module) }
