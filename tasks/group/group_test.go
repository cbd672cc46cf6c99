package group_test

import (
	"testing"

	"holdfast/tasks/group"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, group.Module) }
