package user_test

import (
	"testing"

	"holdfast/tasks/tasktest"
	"holdfast/tasks/user"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, user.Module) }
