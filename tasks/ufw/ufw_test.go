package ufw_test

import (
	"testing"

	"holdfast/tasks/tasktest"
	"holdfast/tasks/ufw"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, ufw.Module) }
