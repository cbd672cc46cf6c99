package npmglobal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"holdfast/tasks/task"
)

func apply(ctx context.Context, w task.Writer, p Params, s State) error {
	if s.NoFolder {
		if err := w.MakeDir(ctx, string(p.Path), 0o755, "", ""); err != nil {
			return err
		}
	}
	if !p.whole(&s) {
		if err := install(ctx, w, &p); err != nil {
			return err
		}
	}
	if p.moves(&s) {
		if err := w.MakeLink(ctx, p.current(), p.Version); err != nil {
			return err
		}
	}
	for _, name := range s.Wrong {
		if err := w.MakeLink(ctx, path.Join(string(*p.Bin), name), p.program(name)); err != nil {
			return err
		}
	}
	for _, old := range p.surplus(s) {
		if err := w.Remove(ctx, path.Join(string(p.Path), old)); err != nil {
			return err
		}
	}
	return nil
}

// undo removes what npm made. What was at its place before, the journal brings back.
func undo(ctx context.Context, w task.Writer, p Params, s State) error {
	if p.whole(&s) {
		return nil // npm did not run
	}
	return w.Remove(ctx, p.dir())
}

func install(ctx context.Context, w task.Writer, p *Params) error {
	if err := w.Remove(ctx, p.dir()); err != nil {
		return err
	}
	owner := ""
	if p.User != nil {
		owner = *p.User
	}
	if err := w.MakeDir(ctx, p.dir(), 0o755, owner, ""); err != nil {
		return err
	}
	if err := fill(ctx, w, p, owner); err != nil {
		// Half of it must not stay. An undo need not bring it back, so it is not
		// removed as what somebody else's would be.
		_, rerr := w.Run(context.WithoutCancel(ctx), task.Command{Argv: []string{"rm", "-rf", "--", p.dir()}})
		return errors.Join(err, rerr)
	}
	return nil
}

// fill makes the version's folder whole.
func fill(ctx context.Context, w task.Writer, p *Params, owner string) error {
	if err := manifest(ctx, w, p, owner); err != nil {
		return err
	}
	w.Progress(fmt.Sprintf("npm installs %s %s", p.Name, p.Version))
	cmd := p.command()
	cmd.User = owner
	out, err := w.Run(ctx, cmd)
	if err != nil {
		return err
	}
	if out.Status != 0 {
		return fmt.Errorf("cannot install %s: npm exits %d: %s", p.dir(), out.Status, reason(out))
	}
	if p.Cache == nil {
		if _, err := w.Run(ctx, task.Command{Argv: []string{"rm", "-rf", "--", p.cache()}, User: owner}); err != nil {
			return err
		}
	}
	if err := check(ctx, w, p); err != nil {
		return err
	}
	return w.WriteFile(ctx, task.FileWrite{Path: path.Join(p.dir(), marker), Data: []byte(p.origin() + "\n")})
}

// manifest writes what npm is to install.
func manifest(ctx context.Context, w task.Writer, p *Params, owner string) error {
	data, err := json.Marshal(map[string]any{"private": true, "dependencies": map[string]string{p.Name: p.Version}})
	if err != nil {
		return err
	}
	if err := w.WriteFile(ctx, task.FileWrite{Path: path.Join(p.dir(), "package.json"), Data: append(data, '\n'), Owner: owner}); err != nil {
		return err
	}
	if p.Lock == nil {
		return nil
	}
	if data, err = w.Blob(ctx, *p.Lock); err != nil {
		return fmt.Errorf("cannot get the lock of %s: %w", p.dir(), err)
	}
	return w.WriteFile(ctx, task.FileWrite{Path: path.Join(p.dir(), "package-lock.json"), Data: data, Owner: owner, Secret: p.Lock.Secret})
}

func (p *Params) cache() string {
	if p.Cache != nil {
		return string(*p.Cache)
	}
	return path.Join(p.dir(), ".cache")
}

// command is npm's, with nothing from the settings of the account that it runs as.
func (p *Params) command() task.Command {
	argv := []string{path.Join(string(p.Node), "bin/node"), path.Join(string(p.Node), "lib/node_modules/npm/bin/npm-cli.js")}
	if p.Lock != nil {
		argv = append(argv, "ci")
	} else {
		argv = append(argv, "install", "--save-exact")
	}
	argv = append(argv, "--no-audit", "--no-fund", "--no-update-notifier", "--omit=dev", "--loglevel=error", "--registry="+p.Registry, "--cache="+p.cache())
	if p.IgnoreScripts {
		argv = append(argv, "--ignore-scripts")
	} else if len(p.AllowScripts) > 0 {
		argv = append(argv, "--allow-scripts="+strings.Join(p.AllowScripts, ","))
	}
	if p.Offline {
		argv = append(argv, "--offline")
	}
	cmd := task.Command{Argv: argv, Dir: p.dir(), Stream: true, Env: map[string]string{
		"PATH":                    path.Join(string(p.Node), "bin") + ":/usr/local/bin:/usr/bin:/bin",
		"NODE_EXTRA_CA_CERTS":     string(p.CA),
		"npm_config_userconfig":   path.Join(p.dir(), ".npmrc"), // which is not there
		"npm_config_globalconfig": path.Join(p.dir(), ".npmrc-global"),
	}}
	if p.Proxy != nil {
		cmd.Env["https_proxy"], cmd.Env["http_proxy"] = *p.Proxy, *p.Proxy
	}
	if !p.Token.IsZero() {
		_, host, _ := strings.Cut(strings.TrimRight(p.Registry, "/"), ":")
		cmd.Secrets = map[string]task.SecretText{"npm_config_" + host + "/:_authToken": p.Token}
	}
	return cmd
}

// reason is the end of what npm said.
func reason(out task.Output) string {
	lines := strings.Split(strings.TrimSpace(out.Stderr+"\n"+out.Stdout), "\n")
	return strings.Join(lines[:min(len(lines), 12)], "; ")
}

// check looks at what npm installed. A plan cannot.
func check(ctx context.Context, r task.Reader, p *Params) error {
	got, err := task.NpmIntegrity(ctx, r, p.dir(), p.Name)
	if errors.Is(err, task.ErrUnknown) {
		return nil
	}
	if err != nil || p.Integrity == nil {
		return err
	}
	want, err := task.ParseSum(*p.Integrity)
	if err != nil {
		return err
	}
	if sum, err := task.ParseSum(got); err != nil || sum != want {
		return fmt.Errorf("cannot install %s: the registry has another %s %s: %s, want %s", p.dir(), p.Name, p.Version, got, *p.Integrity)
	}
	return nil
}
