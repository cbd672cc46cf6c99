package authorizedkeys_test

import (
	"testing"

	authorizedkeys "holdfast/tasks/authorized_keys"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, authorizedkeys.Module) }
