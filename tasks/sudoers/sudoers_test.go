package sudoers_test

import (
	"testing"

	"holdfast/tasks/sudoers"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, sudoers.Module) }
