package sshd_test

import (
	"testing"

	"holdfast/tasks/sshd"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, sshd.Module) }
