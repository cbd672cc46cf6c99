package stat_test

import (
	"testing"
	"time"

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
		{"file", "{path: /etc/motd}", stat.Result{Exists: true, Kind: "file", Mode: "0644", Owner: "root", Group: "root", Size: 9, Digest: digest, Age: -1}},
		{"file without digest", "{path: /etc/motd, digest: false}", stat.Result{Exists: true, Kind: "file", Mode: "0644", Owner: "root", Group: "root", Size: 9, Age: -1}},
		{"directory", "{path: /home/admin}", stat.Result{Exists: true, Kind: "directory", Mode: "0700", Owner: "admin", Group: "admin", Age: -1}},
		{"link", "{path: /bin}", stat.Result{Exists: true, Kind: "link", Owner: "root", Group: "root", Size: 7, Target: "usr/bin", Age: -1}},
		{"nothing", "{path: /nothing}", stat.Result{Kind: "absent", Age: -1}},
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

func TestAge(t *testing.T) {
	h := tasktest.NewHost()
	for age, want := range map[time.Duration]int64{time.Hour: 0, 25 * time.Hour: 1, 100 * 24 * time.Hour: 100, -time.Hour: 0} {
		h.SetModified("/etc/motd", time.Now().Add(-age))
		got, _, err := tasktest.Run(t, h, stat.Module, "{path: /etc/motd}")
		if err != nil || got.(stat.Result).Age != want {
			t.Errorf("%s: got %+v, %v, want %d days", age, got, err, want)
		}
	}
}
