// Package restic works on backups with restic.
package restic

import (
	"context"
	_ "embed"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"holdfast/tasks/task"
)

//go:embed doc.md
var doc string

// Params is what a playbook asks for.
type Params struct {
	Do         string                     `yaml:"do" validate:"required,oneof=init backup forget check restore snapshots" doc:"What to do."`
	Repository string                     `yaml:"repository" validate:"required" doc:"Where the backups are: /path, sftp:user@host:/path, s3:…, rest:…, b2:…."`
	Password   task.SecretText            `yaml:"password" validate:"required" doc:"The password of the repository."`
	Env        map[string]string          `yaml:"env" doc:"Variables for the repository, such as AWS_DEFAULT_REGION."`
	Secrets    map[string]task.SecretText `yaml:"secrets" doc:"Variables for the repository that are secrets, such as AWS_SECRET_ACCESS_KEY."`
	SSH        []string                   `yaml:"ssh" validate:"min=1" doc:"The program and arguments that connect an sftp repository, instead of ssh's usual."`
	Paths      []task.Path                `yaml:"paths" validate:"min=1" doc:"What backup saves."`
	Exclude    []string                   `yaml:"exclude" doc:"Patterns of what backup leaves out."`
	Tags       []string                   `yaml:"tags" doc:"Tags that backup gives, and that forget, restore and snapshots look for."`
	Host       *string                    `yaml:"host" doc:"The host's name in the repository; without it, the host's own."`
	Keep       *Keep                      `yaml:"keep" doc:"What forget keeps of each host and set of paths."`
	Prune      bool                       `yaml:"prune" default:"true" doc:"Whether forget frees the space too."`
	ReadData   *string                    `yaml:"read_data" doc:"How much of the data check reads: 100%, 5%, 1/7; without it, structure only."`
	Snapshot   string                     `yaml:"snapshot" default:"latest" doc:"What restore restores."`
	Target     *task.Path                 `yaml:"target" doc:"The folder that restore writes into; an empty one is safest."`
	Fresh      bool                       `yaml:"fresh" default:"false" doc:"Whether target must be empty or missing; an undo empties it again then."`
	Include    []string                   `yaml:"include" doc:"Patterns of what restore takes; without it, all."`
	MaxAge     *task.Duration             `yaml:"max_age" doc:"How old the newest snapshot may be; snapshots fails otherwise."`
	User       *string                    `yaml:"user" doc:"The account that restic runs as; without it, the task's own."`
	Cache      *task.Path                 `yaml:"cache" doc:"The folder of its cache; without it, that of the account."`
}

// Keep is a policy of restic forget.
type Keep struct {
	Last    int64  `yaml:"last" default:"0" validate:"min=0" doc:"The newest ones."`
	Hourly  int64  `yaml:"hourly" default:"0" validate:"min=0" doc:"One an hour."`
	Daily   int64  `yaml:"daily" default:"0" validate:"min=0" doc:"One a day."`
	Weekly  int64  `yaml:"weekly" default:"0" validate:"min=0" doc:"One a week."`
	Monthly int64  `yaml:"monthly" default:"0" validate:"min=0" doc:"One a month."`
	Yearly  int64  `yaml:"yearly" default:"0" validate:"min=0" doc:"One a year."`
	Within  string `yaml:"within" default:"" doc:"All of the last time: 2y5m7d3h."`
}

// Result is what came out.
type Result struct {
	Snapshot  string   `yaml:"snapshot" json:"snapshot" doc:"The snapshot that backup made, or the newest."`
	Time      string   `yaml:"time" json:"time" doc:"When the newest snapshot was made, in UTC."`
	Snapshots int64    `yaml:"snapshots" json:"snapshots" doc:"How many there are."`
	Files     int64    `yaml:"files" json:"files" doc:"Files that backup looked at."`
	Added     int64    `yaml:"added" json:"added" doc:"Bytes that backup added to the repository."`
	Removed   int64    `yaml:"removed" json:"removed" doc:"Snapshots that forget removed."`
	Paths     []string `yaml:"paths" json:"paths" doc:"What is in the newest snapshot."`
}

// Module works on backups.
var Module = task.NewAction(task.ActionDef[Params, Result]{
	Name: "restic", Doc: doc,
	Validate: validate,
	Resource: func(p Params) string { return p.Repository },
	Reads:    reads,
	Skip:     skip,
	Run:      run,
	Changed:  changed,
	Undo:     undo,
	// An undo has no secrets, so it could not even open the repository.
	Reversible:   func(p Params) bool { return p.Fresh || reads(p) },
	Irreversible: "only who has the password of the repository can change what is in it; restic forget removes a snapshot",
})

var (
	tagRule    = regexp.MustCompile(`^[^,\s]+$`)
	readRule   = regexp.MustCompile(`^(\d+(\.\d+)?%|\d+/\d+)$`)
	withinRule = regexp.MustCompile(`^(\d+[ymdh])+$`)
	varRule    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	sftpRule   = regexp.MustCompile(`^sftp://[^/:@]+@[^@]+$`) // an account, and no password
	idRule     = regexp.MustCompile(`^(latest|[0-9a-f]{8,64})$`)
)

func reads(p Params) bool { return p.Do == "check" || p.Do == "snapshots" }

func changed(p Params, r Result) bool { return !reads(p) && (p.Do != "forget" || r.Removed > 0) }

// fields says which fields belong to which work.
var fields = map[string][]string{"paths": {"backup"}, "exclude": {"backup"}, "keep": {"forget"}, "target": {"restore"}, "fresh": {"restore"},
	"include": {"restore"}, "read_data": {"check"}, "max_age": {"snapshots"}}

func validate(p Params) error {
	set := map[string]bool{"paths": len(p.Paths) > 0, "exclude": len(p.Exclude) > 0, "keep": p.Keep != nil, "target": p.Target != nil, "fresh": p.Fresh,
		"include": len(p.Include) > 0, "read_data": p.ReadData != nil, "max_age": p.MaxAge != nil}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if set[name] && !slices.Contains(fields[name], p.Do) {
			return task.FieldErrorf(name, "%s does not use it", p.Do)
		}
	}
	switch {
	case strings.ContainsAny(p.Repository, "\n\x00") || strings.Contains(p.Repository, "://") && strings.Contains(p.Repository, "@") && !sftpRule.MatchString(p.Repository):
		return task.FieldErrorf("repository", "want one without a password: restic takes those from secrets")
	case p.Do == "backup" && len(p.Paths) == 0:
		return task.FieldErrorf("paths", "say what is saved")
	case p.Do == "restore" && p.Target == nil:
		return task.FieldErrorf("target", "say where to")
	case p.Do == "forget" && (p.Keep == nil || *p.Keep == Keep{}):
		return task.FieldErrorf("keep", "say what is kept: without it, nothing would be")
	case p.Keep != nil && p.Keep.Within != "" && !withinRule.MatchString(p.Keep.Within):
		return task.FieldErrorf("keep.within", "%q is no time: want such as 2y5m7d3h", p.Keep.Within)
	case p.ReadData != nil && !readRule.MatchString(*p.ReadData):
		return task.FieldErrorf("read_data", "%q is no part: want such as 5%% or 1/7", *p.ReadData)
	case !idRule.MatchString(p.Snapshot):
		return task.FieldErrorf("snapshot", "%q is no snapshot: want latest or 8 or more hex digits", p.Snapshot)
	case len(p.SSH) > 0 && !strings.HasPrefix(p.Repository, "sftp:"):
		return task.FieldErrorf("ssh", "it is for repositories that begin with sftp:")
	}
	for i, tag := range p.Tags {
		if !tagRule.MatchString(tag) {
			return task.FieldErrorf(fmt.Sprintf("tags[%d]", i), "%q is no tag: want a word without commas", tag)
		}
	}
	return p.checkVariables()
}

func (p *Params) checkVariables() error {
	for field, names := range map[string][]string{"env": slices.Sorted(maps.Keys(p.Env)), "secrets": slices.Sorted(maps.Keys(p.Secrets))} {
		for _, name := range names {
			if !varRule.MatchString(name) || name == "RESTIC_PASSWORD" || name == "RESTIC_REPOSITORY" {
				return task.FieldErrorf(field+"."+name, "%q is no variable to set here", name)
			}
		}
	}
	for i, word := range p.SSH {
		if strings.ContainsAny(word, " \t\"'\\") {
			return task.FieldErrorf(fmt.Sprintf("ssh[%d]", i), "a blank or a quote in it cannot be handed on to restic")
		}
	}
	return nil
}

// command is restic's. Repository and password are in its environment, where only
// root and the account itself can see them.
func (p *Params) command(args ...string) task.Command {
	argv := []string{"restic"}
	if len(p.SSH) > 0 {
		argv = append(argv, "-o", "sftp.command="+strings.Join(p.SSH, " "))
	}
	argv = append(argv, args...)
	cmd := task.Command{Argv: argv, Env: map[string]string{"RESTIC_REPOSITORY": p.Repository, "RESTIC_PROGRESS_FPS": "0.2"},
		Secrets: map[string]task.SecretText{"RESTIC_PASSWORD": p.Password}, MaxOutput: 4 << 20}
	maps.Copy(cmd.Env, p.Env)
	maps.Copy(cmd.Secrets, p.Secrets)
	if p.Cache != nil {
		cmd.Env["RESTIC_CACHE_DIR"] = string(*p.Cache)
	}
	if p.User != nil {
		cmd.User = *p.User
	}
	return cmd
}

// skip says that a repository is there already.
func skip(ctx context.Context, r task.Reader, p Params) (string, error) {
	if p.Do != "init" {
		return "", nil
	}
	if path.IsAbs(p.Repository) { // no process for what a look tells
		info, err := r.Stat(ctx, path.Join(p.Repository, "config"))
		if err != nil || !info.Exists() {
			return "", err
		}
	}
	out, err := r.Query(ctx, p.command("cat", "config", "--no-lock"))
	if err != nil {
		return "", err
	}
	if out.Status == 0 {
		return "the repository is there", nil
	}
	if strings.Contains(out.Stderr, "wrong password") || strings.Contains(out.Stderr, "no key found") {
		return "", fmt.Errorf("cannot use the repository %s: it is there and has another password", p.Repository)
	}
	return "", nil
}
