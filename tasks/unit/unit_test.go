package unit_test

import (
	"testing"

	"holdfast/tasks/tasktest"
	"holdfast/tasks/unit"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, unit.Module) }
