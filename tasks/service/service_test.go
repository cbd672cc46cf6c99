package service_test

import (
	"testing"

	"holdfast/tasks/service"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, service.Module) }
