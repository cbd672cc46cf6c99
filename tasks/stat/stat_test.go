package stat_test

import (
	"testing"

	"holdfast/tasks/stat"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, stat.Module) }

func TestRun(t *testing.T) {
	digest := task.DigestOf([]byte("Welcome.\n"))
	tests := []struct {
		name, args string
		want       stat.Result
	}{
		{"file", "{path: /etc/motd}", stat.Result{Exists: true, Kind: "file", Mode: "0644", Owner: "root", Group: "root", Size: 9, Digest: digest}},
		{"file without digest", "{path: /etc/motd, digest: false}", stat.Result{Exists: true, Kind: "file", Mode: "0644", Owner: "root", Group: "root", Size: 9}},
		{"directory", "{path: /home/admin}", stat.Result{Exists: true, Kind: "directory", Mode: "0700", Owner: "admin", Group: "admin"}},
		{"link", "{path: /bin}", stat.Result{Exists: true, Kind: "link", Owner: "root", Group: "root", Size: 7, Target: "usr/bin"}},
		{"nothing", "{path: /nothing}", stat.Result{Kind: "absent"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, changed, err := tasktest.Run(t, tasktest.NewHost(), stat.Module, tt.args)
			if err != nil || changed || got != tt.want {
				t.Errorf("stat %s: got %+v (changed %v, %v), want %+v", tt.args, got, changed, err, tt.want)
			}
		})
	}
}
