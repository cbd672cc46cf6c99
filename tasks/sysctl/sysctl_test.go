package sysctl_test

import (
	"testing"

	"holdfast/tasks/sysctl"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, sysctl.Module) }
