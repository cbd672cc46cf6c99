package restic_test

import (
	"strings"
	"testing"

	"holdfast/tasks/restic"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, restic.Module) }

func args(do, more string) string {
	if more != "" {
		more = ", " + more
	}
	return `{do: ` + do + `, repository: /srv/r, password: "${secret('p')}"` + more + `}`
}

// saying returns a host whose restic prints something.
func saying(status int, stdout, stderr string, heard *[]string) *tasktest.Host {
	h := tasktest.NewHost()
	answer := func(c task.Command) (task.Output, error) {
		if heard != nil {
			*heard = append(*heard, strings.Join(c.Argv, " "))
		}
		return task.Output{Status: status, Stdout: stdout, Stderr: stderr}, nil
	}
	h.OnRun, h.OnQuery = answer, answer
	return h
}

func TestArguments(t *testing.T) {
	for a, want := range map[string]string{
		args("init", ""): "restic init",
		args("backup", `paths: [/etc, /srv], exclude: ["*.log"], tags: [a, b], host: h`): "restic backup --json --exclude *.log --host h --tag a --tag b -- /etc /srv",
		args("forget", "keep: {last: 1, daily: 7, within: 2d}, tags: [a, b]"):            "restic forget --json --tag a,b --keep-last 1 --keep-daily 7 --keep-within 2d --prune",
		args("forget", "keep: {yearly: 1}, prune: false"):                                "restic forget --json --keep-yearly 1",
		args("check", "read_data: 1/7"):                                                  "restic check --read-data-subset=1/7",
		args("restore", "target: /t, include: [/etc], host: h"):                          "restic restore latest --target /t --include /etc --host h",
		args("restore", "target: /t, snapshot: abcdef0123, host: h"):                     "restic restore abcdef0123 --target /t",
		args("snapshots", ""): "restic snapshots --json --no-lock",
		strings.Replace(args("init", "ssh: [ssh, -p, '23', u@h, -s, sftp]"), "/srv/r", "'sftp:u@h:/r'", 1): "restic -o sftp.command=ssh -p 23 u@h -s sftp init",
		strings.Replace(args("init", ""), "/srv/r", "'sftp://u@h:23//r'", 1):                               "restic init",
	} {
		var heard []string
		h := saying(0, "", "", &heard)
		if _, _, err := tasktest.Run(t, h, restic.Module, a); err != nil {
			t.Errorf("%s: %v", a, err)
		}
		if len(heard) != 1 || heard[0] != want {
			t.Errorf("%s: runs %q, want %q", a, heard, want)
		}
	}
}

func TestResults(t *testing.T) {
	summary := `{"message_type":"status","percent_done":1}` + "\n" + `{"message_type":"summary","total_files_processed":3,"data_added":42,"snapshot_id":"abcd1234"}`
	r, changed, err := tasktest.Run(t, saying(0, summary, "", nil), restic.Module, args("backup", "paths: [/etc]"))
	if got := r.(restic.Result); err != nil || !changed || got.Snapshot != "abcd1234" || got.Files != 3 || got.Added != 42 {
		t.Errorf("backup: got %+v, changed %v (%v)", got, changed, err)
	}
	r, changed, err = tasktest.Run(t, saying(0, `[{"keep":[{},{}],"remove":[{}]},{"keep":[{}],"remove":null}]`+"\n2 snapshots…", "", nil), restic.Module, args("forget", "keep: {last: 1}"))
	if got := r.(restic.Result); err != nil || !changed || got.Snapshots != 3 || got.Removed != 1 {
		t.Errorf("forget: got %+v, changed %v (%v)", got, changed, err)
	}
	if _, changed, err = tasktest.Run(t, saying(0, `[]`, "", nil), restic.Module, args("forget", "keep: {last: 1}")); err != nil || changed {
		t.Errorf("forget of nothing: changed %v (%v)", changed, err)
	}
	list := `[{"id":"one","time":"2001-01-01T00:00:00+01:00","paths":["/a"]},{"id":"two","time":"2001-01-02T00:00:00+01:00","paths":["/b"]}]`
	r, changed, err = tasktest.Run(t, saying(0, list, "", nil), restic.Module, args("snapshots", ""))
	if got := r.(restic.Result); err != nil || changed || got.Snapshots != 2 || got.Snapshot != "two" || got.Time != "2001-01-01T23:00:00Z" {
		t.Errorf("snapshots: got %+v, changed %v (%v)", got, changed, err)
	}
}

func TestFailures(t *testing.T) {
	old := `[{"id":"one","time":"2001-01-01T00:00:00Z"}]`
	for _, tt := range []struct {
		args, stdout, stderr, want string
		status                     int
	}{
		{args("backup", "paths: [/etc]"), "", "Fatal: wrong password", "cannot backup /srv/r: restic exits 1: Fatal: wrong password", 1},
		{args("backup", "paths: [/etc]"), "nonsense", "", "without a summary", 0},
		{args("forget", "keep: {last: 1}"), "nonsense", "", "printed no JSON", 0},
		{args("snapshots", "max_age: 1d"), old, "", "is of 2001-01-01T00:00:00Z, older than 24h", 0},
		{args("snapshots", "max_age: 1d"), "[]", "", "holds no snapshot", 0},
		{args("check", ""), "", "pack is damaged", "pack is damaged", 1},
	} {
		_, _, err := tasktest.Run(t, saying(tt.status, tt.stdout, tt.stderr, nil), restic.Module, tt.args)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.args, err, tt.want)
		}
	}
}

func TestFreshRestoreIsTakenBack(t *testing.T) {
	var heard []string
	h := saying(0, "", "", &heard)
	h.AddFile("/t/old", "x", 0o600)
	if _, _, err := tasktest.Run(t, h, restic.Module, args("restore", "target: /t, fresh: true")); err == nil || !strings.Contains(err.Error(), "it is not empty") || len(heard) > 0 {
		t.Errorf("into a folder that holds something: %v, and ran %q", err, heard)
	}
	if err := tasktest.Bind(t, h, restic.Module, args("restore", "target: /t, fresh: true")).Undo(t.Context(), h, []byte("{}")); err != nil || strings.Join(heard, "") != "rm -rf -- /t/old" {
		t.Errorf("an undo runs %q (%v)", heard, err)
	}
	for a, want := range map[string]bool{args("restore", "target: /t"): false, args("restore", "target: /t, fresh: true"): true, args("init", ""): false, args("check", ""): true} {
		if got := tasktest.Bind(t, h, restic.Module, a).Reversible; got != want {
			t.Errorf("%s can be taken back: %t, want %t", a, got, want)
		}
	}
}

func TestInitLeavesARepositoryAlone(t *testing.T) {
	h := saying(0, "{}", "", nil)
	h.AddFile("/srv/r/config", "x", 0o600)
	if why, err := tasktest.Bind(t, h, restic.Module, args("init", "")).Skip(t.Context(), h); err != nil || why != "the repository is there" {
		t.Errorf("got %q (%v)", why, err)
	}
	h = saying(1, "", "Fatal: wrong password or no key found", nil)
	h.AddFile("/srv/r/config", "x", 0o600)
	if _, err := tasktest.Bind(t, h, restic.Module, args("init", "")).Skip(t.Context(), h); err == nil || !strings.Contains(err.Error(), "has another password") {
		t.Errorf("got %v, want a failure about the password", err)
	}
}

func TestFaults(t *testing.T) {
	for a, want := range map[string]string{
		"{do: init, repository: /r}":                                            "restic.password: missing",
		args("backup", ""):                                                      "say what is saved",
		args("restore", ""):                                                     "say where to",
		args("forget", ""):                                                      "say what is kept",
		args("forget", "keep: {daily: 0}"):                                      "say what is kept",
		args("forget", "keep: {within: soon}"):                                  "is no time",
		args("init", "paths: [/x]"):                                             "init does not use it",
		args("init", "fresh: true"):                                             "init does not use it",
		args("check", "read_data: all"):                                         "is no part",
		args("restore", "target: /t, snapshot: '-x'"):                           "is no snapshot",
		args("backup", "paths: [/x], tags: ['a,b']"):                            "is no tag",
		args("init", "env: {RESTIC_PASSWORD: x}"):                               "is no variable to set here",
		args("init", "ssh: [ssh]"):                                              "begin with sftp:",
		strings.Replace(args("init", ""), "/srv/r", "'rest:https://u:p@x/'", 1): "without a password",
		strings.Replace(args("init", ""), "/srv/r", "'sftp://u:p@x//r'", 1):     "without a password",
	} {
		if got := tasktest.Fault(restic.Module, a); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", a, got, want)
		}
	}
}
