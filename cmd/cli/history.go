package cli

import (
	"context"
	"encoding/json"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"holdfast/runner"
	"holdfast/runner/event"
	"holdfast/runner/history"
)

// historyDir returns the folder of the history: HOLDFAST_HISTORY, else that of the
// user's state. It is "" when there is to be none.
func (env *Env) historyDir() string {
	if dir := env.Getenv("HOLDFAST_HISTORY"); dir == "none" {
		return ""
	} else if dir != "" {
		return env.path(dir)
	}
	if dir := env.userDir("XDG_STATE_HOME", ".local/state"); dir != "" {
		return dir
	}
	// Services of the system may have no HOME; their history is that of the account.
	if u, err := user.Current(); err == nil && filepath.IsAbs(u.HomeDir) {
		return filepath.Join(u.HomeDir, ".local/state/holdfast")
	}
	return ""
}

// history opens the history for writing. It is nil when there is to be none.
func (env *Env) history(ctx context.Context) (*history.DB, error) {
	dir := env.historyDir()
	if dir == "" {
		return nil, nil //nolint:nilnil // no history is an answer
	}
	return history.Open(ctx, dir)
}

// spec is what it takes to go on with a run: what its command line said.
type spec struct {
	Dir       string        `json:"dir"` // paths are relative to it
	Playbook  string        `json:"playbook,omitempty"`
	Inventory string        `json:"inventory,omitempty"`
	Limit     []string      `json:"limit,omitempty"`
	Params    []string      `json:"params,omitempty"` // as given with -p
	Files     []specFile    `json:"files,omitempty"`  // of parameters, as they were
	Tags      []string      `json:"tags,omitempty"`
	Forks     int           `json:"forks,omitempty"`
	NoRoot    bool          `json:"no_root,omitempty"`
	AcceptNew bool          `json:"accept_new,omitempty"`
	Timeout   time.Duration `json:"connect_timeout,omitempty"`
	Identity  []string      `json:"identity,omitempty"`
	Reattach  time.Duration `json:"reattach,omitempty"`
	// Hidden says that the parameters hold a secret and are left out.
	Hidden bool `json:"hidden,omitempty"`
}

type specFile struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

func (o *playOptions) spec() spec {
	return spec{Dir: o.env.Dir, Playbook: o.name, Inventory: o.fleet.named(), Limit: o.fleet.limit, Params: o.params, Files: o.read, Tags: o.tags,
		Forks: o.forks, NoRoot: o.noRoot, AcceptNew: o.fleet.acceptNew, Timeout: o.fleet.timeout, Identity: o.fleet.identity, Reattach: o.reattach}
}

// written returns the spec as the history keeps it: without secrets.
func (s spec) written(redact func(string) string) json.RawMessage {
	data, err := json.Marshal(s)
	if err == nil && redact(string(data)) != string(data) {
		s.Params, s.Files, s.Hidden = nil, nil, true
		data, err = json.Marshal(s)
	}
	if err != nil || redact(string(data)) != string(data) {
		return json.RawMessage(`{"hidden":true}`)
	}
	return data
}

// recorder keeps a run in the history. Closing it tells what went wrong.
func (o *playOptions) recorder(opts *runner.Options) *history.Recorder {
	env := o.env
	r := history.Run{ID: opts.ID, Mode: opts.Mode, Command: env.redactor.String(env.commandLine()), Person: opts.User, Machine: opts.Controller,
		About: opts.Undo.Run + opts.Attach, Resumes: o.resumes, Started: env.Now(), Spec: o.spec().written(env.redactor.String)}
	if pb := opts.Playbook; pb != nil {
		r.Playbook, r.Version, r.Origin, r.Digest = pb.Lang.Name, pb.Lang.Version, pb.Lang.Origin, pb.Digest()
	}
	for _, h := range opts.Hosts {
		r.Hosts = append(r.Hosts, history.Host{Name: h.Name})
	}
	return history.NewRecorder(r, env.history, env.redactor.String)
}

// commandLine returns the command line without the values of parameters.
func (env *Env) commandLine() string {
	out := []string{"holdfast"}
	value := false
	for _, arg := range env.Args {
		name, _, assigned := strings.Cut(arg, "=")
		switch {
		case value && assigned:
			arg = name + "=…"
		case strings.HasPrefix(arg, "--param="):
			rest, _, _ := strings.Cut(strings.TrimPrefix(arg, "--param="), "=")
			arg = "--param=" + rest + "=…"
		case strings.HasPrefix(arg, "-p") && len(arg) > 2 && assigned:
			arg = name + "=…"
		}
		value = arg == "-p" || arg == "--param"
		if arg == "" || strings.ContainsAny(arg, " \t\n'\"\\$&|;<>*?()") {
			arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		out = append(out, arg)
	}
	return strings.Join(out, " ")
}

// both hands events to the person first.
func both(a, b event.Sink) event.Sink {
	return event.SinkFunc(func(e event.Event) {
		a.Emit(e)
		b.Emit(e)
	})
}
