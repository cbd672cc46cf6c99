package packages_test

import (
	"testing"

	packages "holdfast/tasks/package"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, packages.Module) }
