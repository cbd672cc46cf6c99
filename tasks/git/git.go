// Package git checks out one commit of a repository.
package git

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"

	"holdfast/tasks/task"
)

//go:embed doc.md
var doc string

// Params is what a playbook asks for.
type Params struct {
	Repo       string          `yaml:"repo" validate:"required" doc:"Where the repository is: https://host/path, ssh://user@host/path or /path."`
	Path       task.Path       `yaml:"path" validate:"required" doc:"The folder of the checkout."`
	Commit     string          `yaml:"commit" validate:"required" doc:"The whole name of the commit, 40 or 64 hex digits."`
	Ref        *string         `yaml:"ref" doc:"The tag or branch that has it, for servers that do not hand out commits by name: v1.2.3."`
	Depth      int64           `yaml:"depth" default:"1" validate:"min=0,max=1000000" doc:"How many commits back are fetched; 0 is all."`
	Submodules bool            `yaml:"submodules" default:"false" doc:"Whether the repositories in it are checked out too."`
	Force      bool            `yaml:"force" default:"false" doc:"Whether changes that somebody made to its files are thrown away."`
	User       *string         `yaml:"user" doc:"The account that git runs as and that the folder belongs to; without it, the task's own."`
	SSHKey     *task.Path      `yaml:"ssh_key" doc:"A private key on the host."`
	KnownHosts *task.Path      `yaml:"known_hosts" doc:"A file on the host with the keys of SSH servers; without it, the account's own."`
	Header     task.SecretText `yaml:"secret_header" doc:"A header for https servers, all of it: Authorization: Basic …."`
}

// State is what the host has.
type State struct {
	Kind   string `yaml:"kind" json:"kind" doc:"What is at the path: absent, empty or repository."`
	Commit string `yaml:"commit" json:"commit" doc:"The commit that is checked out."`
	Branch string `yaml:"branch" json:"branch" doc:"The branch that is checked out, if one is."`
	Dirty  bool   `yaml:"dirty" json:"dirty" doc:"Whether somebody changed files; looked at with force only."`
}

const (
	absent     = "absent"
	empty      = "empty"
	repository = "repository"
)

// Module checks out commits.
var Module = task.New(task.Def[Params, State]{
	Name: "git", Doc: doc,
	Validate: validate,
	Resource: func(p Params) string { return string(p.Path) },
	Observe:  observe,
	Diff:     diff,
	Apply:    apply,
	Undo:     undo,
})

var (
	commitRule = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)
	refRule    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_./+-]*$`)
	repoRule   = regexp.MustCompile(`^(https?://[^@\s/]+/|ssh://|file:///|/|[A-Za-z0-9_.-]+@[A-Za-z0-9_.-]+:)[^\s]*$`)
)

func validate(p Params) error {
	switch {
	case !repoRule.MatchString(p.Repo):
		return task.FieldErrorf("repo", "want https://host/path without a user, ssh://…, user@host:path or an absolute path")
	case !commitRule.MatchString(p.Commit):
		return task.FieldErrorf("commit", "%q is no whole name of a commit: want 40 hex digits; git ls-remote prints them", p.Commit)
	case p.Ref != nil && (!refRule.MatchString(*p.Ref) || strings.Contains(*p.Ref, "..")):
		return task.FieldErrorf("ref", "%q is no name of a tag or branch", *p.Ref)
	case !p.Header.IsZero() && !strings.HasPrefix(p.Repo, "https://"):
		return task.FieldErrorf("secret_header", "it is sent to https servers only")
	}
	return nil
}

func observe(ctx context.Context, r task.Reader, p Params) (State, error) {
	s := State{Kind: absent}
	info, err := r.Stat(ctx, string(p.Path))
	if err != nil || !info.Exists() {
		return s, err
	}
	if info.Kind != task.KindDir {
		return s, fmt.Errorf("cannot check out %s: there is a %s", p.Path, info.Kind)
	}
	head, err := read(ctx, r, path.Join(string(p.Path), ".git/HEAD"))
	if err != nil {
		return s, err
	}
	if head == "" {
		names, err := r.ReadDir(ctx, string(p.Path))
		if s.Kind = empty; err == nil && len(names) > 0 {
			err = fmt.Errorf("cannot check out %s: it is not empty and no repository", p.Path)
		}
		return s, err
	}
	s.Kind, s.Commit = repository, head
	if ref, ok := strings.CutPrefix(head, "ref: "); ok {
		s.Branch = strings.TrimPrefix(ref, "refs/heads/")
		if s.Commit, err = read(ctx, r, path.Join(string(p.Path), ".git", path.Clean("/"+ref))); err != nil {
			return s, err
		}
	}
	if p.Force && s.Commit == p.Commit {
		s.Dirty, err = dirty(ctx, r, &p)
	}
	return s, err
}

// read returns the line in a file, or "".
func read(ctx context.Context, r task.Reader, file string) (string, error) {
	info, err := r.Stat(ctx, file)
	if err != nil || info.Kind != task.KindFile {
		return "", err
	}
	data, err := r.ReadFile(ctx, file, 4096)
	return strings.TrimSpace(string(data)), err
}

// dirty reports whether somebody changed files.
func dirty(ctx context.Context, r task.Reader, p *Params) (bool, error) {
	out, err := r.Query(ctx, p.command("status", "--porcelain", "--untracked-files=no"))
	if err == nil && out.Status != 0 {
		err = fmt.Errorf("cannot look at %s: git exits %d: %s", p.Path, out.Status, reason(out))
	}
	return strings.TrimSpace(out.Stdout) != "", err
}

func diff(p Params, s State) []task.Change {
	switch {
	case s.Kind != repository:
		return []task.Change{{Attr: "commit", After: p.Commit, Kind: task.Create}}
	case s.Branch != "":
		return []task.Change{task.Set("commit", s.Commit+" on branch "+s.Branch, p.Commit)}
	case s.Commit != p.Commit:
		return []task.Change{task.Set("commit", s.Commit, p.Commit)}
	case s.Dirty:
		return []task.Change{task.Set("force", "changed files", "as in the commit")}
	}
	return nil
}

// command is git's, without hooks, prompts, and settings of accounts and the system.
func (p *Params) command(args ...string) task.Command {
	argv := []string{"git", "-C", string(p.Path), "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false",
		"-c", "advice.detachedHead=false", "-c", "safe.directory=" + string(p.Path), "-c", "protocol.ext.allow=never"}
	cmd := task.Command{Argv: append(argv, args...), Dir: string(p.Path), Env: map[string]string{
		"GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_LFS_SKIP_SMUDGE": "1",
		"GIT_SSH_COMMAND": p.ssh(),
	}}
	if p.User != nil {
		cmd.User = *p.User
	}
	if !p.Header.IsZero() {
		cmd.Env["GIT_CONFIG_COUNT"], cmd.Env["GIT_CONFIG_KEY_0"] = "1", "http.extraHeader"
		cmd.Secrets = map[string]task.SecretText{"GIT_CONFIG_VALUE_0": p.Header}
	}
	return cmd
}

func (p *Params) ssh() string {
	line := "ssh -o BatchMode=yes -o StrictHostKeyChecking=yes"
	if p.SSHKey != nil {
		line += " -o IdentitiesOnly=yes -i " + quote(string(*p.SSHKey))
	}
	if p.KnownHosts != nil {
		line += " -o UserKnownHostsFile=" + quote(string(*p.KnownHosts))
	}
	return line
}

// quote makes one word for the shell that git asks.
func quote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

func run(ctx context.Context, w task.Writer, p *Params, args ...string) error {
	out, err := w.Run(ctx, p.command(args...))
	if err != nil {
		return err
	}
	if out.Status != 0 {
		return fmt.Errorf("cannot check out %s: git %s exits %d: %s", p.Path, args[0], out.Status, reason(out))
	}
	return nil
}

func reason(out task.Output) string {
	return strings.Join(strings.Fields(strings.ToValidUTF8(out.Stderr, "")), " ")
}

func apply(ctx context.Context, w task.Writer, p Params, s State) error {
	switch {
	case s.Kind == repository && !p.Force:
		changed, err := dirty(ctx, w, &p)
		if err != nil {
			return err
		}
		if changed {
			return fmt.Errorf("cannot check out %s: somebody changed files in it; force: true would throw that away", p.Path)
		}
	case s.Kind == absent:
		owner := ""
		if p.User != nil {
			owner = *p.User
		}
		if err := w.MakeDir(ctx, string(p.Path), 0o755, owner, ""); err != nil {
			return err
		}
	}
	err := checkout(ctx, w, &p, s)
	if err != nil && s.Kind != repository {
		// A repository without a commit must not stay. The folder stays when it was there.
		what := string(p.Path)
		if s.Kind == empty {
			what = path.Join(what, ".git")
		}
		_, rerr := w.Run(context.WithoutCancel(ctx), task.Command{Argv: []string{"rm", "-rf", "--", what}})
		err = errors.Join(err, rerr)
	}
	return err
}

func checkout(ctx context.Context, w task.Writer, p *Params, s State) error {
	if s.Kind != repository {
		if err := run(ctx, w, p, "init", "--quiet"); err != nil {
			return err
		}
	}
	if s.Commit != p.Commit {
		fetch := []string{"fetch", "--quiet", "--no-tags", "--force"}
		if p.Depth > 0 {
			fetch = append(fetch, fmt.Sprintf("--depth=%d", p.Depth))
		}
		what := p.Commit
		if p.Ref != nil {
			what = *p.Ref
		}
		w.Progress("git fetches " + what)
		if err := run(ctx, w, p, append(fetch, "--", p.Repo, what)...); err != nil {
			return err
		}
	}
	// A tag that was moved does not bring the commit along, and then this fails.
	if err := run(ctx, w, p, "checkout", "--quiet", "--force", "--detach", p.Commit); err != nil {
		if p.Ref != nil {
			return fmt.Errorf("%w; %s is not that commit, or it is further back than depth", err, *p.Ref)
		}
		return err
	}
	if p.Submodules {
		return run(ctx, w, p, "submodule", "--quiet", "update", "--init", "--recursive", "--force")
	}
	return nil
}

// undo goes back to the commit that was there, which is still in the repository.
func undo(ctx context.Context, w task.Writer, p Params, s State) error {
	switch s.Kind {
	case repository:
		if s.Commit == "" {
			return nil // a branch without a commit is nothing to go back to
		}
		back := []string{"checkout", "--quiet", "--force", "--detach", s.Commit}
		if s.Branch != "" {
			back = []string{"checkout", "--quiet", "--force", s.Branch}
		}
		return run(ctx, w, &p, back...)
	case empty:
		names, err := w.ReadDir(ctx, string(p.Path))
		for _, name := range names {
			if err == nil {
				err = w.Remove(ctx, path.Join(string(p.Path), name))
			}
		}
		return err
	}
	return w.Remove(ctx, string(p.Path))
}
