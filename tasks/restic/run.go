package restic

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"holdfast/tasks/task"
)

func run(ctx context.Context, w task.Writer, p Params) (Result, error) {
	switch p.Do {
	case "init":
		_, err := p.run(ctx, w.Run, "init")
		return Result{}, err
	case "backup":
		return p.backup(ctx, w)
	case "forget":
		return p.forget(ctx, w)
	case "check":
		args := []string{"check"}
		if p.ReadData != nil {
			args = append(args, "--read-data-subset="+*p.ReadData)
		}
		_, err := p.run(ctx, w.Query, args...)
		return Result{}, err
	case "restore":
		return p.restore(ctx, w)
	}
	return p.snapshots(ctx, w)
}

func (p *Params) restore(ctx context.Context, w task.Writer) (Result, error) {
	if p.Fresh {
		there, err := inside(ctx, w, string(*p.Target))
		if err == nil && len(there) > 0 {
			err = fmt.Errorf("cannot restore into %s: it is not empty", *p.Target)
		}
		if err != nil {
			return Result{}, err
		}
	}
	args := []string{"restore", p.Snapshot, "--target", string(*p.Target)}
	for _, pattern := range p.Include {
		args = append(args, "--include", pattern)
	}
	if p.Snapshot == "latest" {
		args = append(args, p.filter()...)
	}
	_, err := p.run(ctx, w.Run, args...)
	return Result{Snapshot: p.Snapshot}, err
}

// inside are the paths of what is in a folder, if it is there.
func inside(ctx context.Context, r task.Reader, dir string) (out []string, err error) {
	info, err := r.Stat(ctx, dir)
	if err != nil || !info.Exists() {
		return nil, err
	}
	names, err := r.ReadDir(ctx, dir)
	for _, name := range names {
		out = append(out, path.Join(dir, name))
	}
	return out, err
}

// undo empties the folder that restore found empty.
func undo(ctx context.Context, w task.Writer, p Params, _ Result) error {
	if p.Target == nil {
		return nil
	}
	there, err := inside(ctx, w, string(*p.Target))
	if err != nil || len(there) == 0 {
		return err
	}
	cmd := task.Command{Argv: append([]string{"rm", "-rf", "--"}, there...)}
	if p.User != nil {
		cmd.User = *p.User
	}
	out, err := w.Run(ctx, cmd)
	if err == nil && out.Status != 0 {
		err = fmt.Errorf("cannot empty %s: %s", *p.Target, reason(out))
	}
	return err
}

// filter are the arguments that choose snapshots.
func (p *Params) filter() []string {
	var out []string
	if p.Host != nil {
		out = append(out, "--host", *p.Host)
	}
	if len(p.Tags) > 0 {
		out = append(out, "--tag", strings.Join(p.Tags, ","))
	}
	return out
}

// run runs restic and returns what it printed.
func (p *Params) run(ctx context.Context, how func(context.Context, task.Command) (task.Output, error), args ...string) (task.Output, error) {
	out, err := how(ctx, p.command(args...))
	if err != nil {
		return out, fmt.Errorf("cannot %s %s: %w", p.Do, p.Repository, err)
	}
	if out.Status != 0 {
		return out, fmt.Errorf("cannot %s %s: restic exits %d: %s", p.Do, p.Repository, out.Status, reason(out))
	}
	return out, nil
}

func reason(out task.Output) string {
	lines := strings.Split(strings.TrimSpace(out.Stderr), "\n")
	return strings.Join(lines[max(0, len(lines)-6):], "; ")
}

func (p *Params) backup(ctx context.Context, w task.Writer) (Result, error) {
	args := []string{"backup", "--json"}
	for _, pattern := range p.Exclude {
		args = append(args, "--exclude", pattern)
	}
	if p.Host != nil {
		args = append(args, "--host", *p.Host)
	}
	for _, tag := range p.Tags {
		args = append(args, "--tag", tag)
	}
	args = append(args, "--")
	for _, path := range p.Paths {
		args = append(args, string(path))
	}
	out, err := p.run(ctx, w.Run, args...)
	if err != nil {
		return Result{}, err
	}
	for _, line := range strings.Split(out.Stdout, "\n") {
		var s struct {
			Type     string `json:"message_type"`
			Snapshot string `json:"snapshot_id"`
			Files    int64  `json:"total_files_processed"`
			Added    int64  `json:"data_added"`
		}
		if json.Unmarshal([]byte(line), &s) == nil && s.Type == "summary" {
			return Result{Snapshot: s.Snapshot, Files: s.Files, Added: s.Added}, nil
		}
	}
	if out.Stdout == "" {
		return Result{}, nil // a plan
	}
	return Result{}, fmt.Errorf("cannot backup %s: restic ended without a summary", p.Repository)
}

func (p *Params) forget(ctx context.Context, w task.Writer) (Result, error) {
	args := append([]string{"forget", "--json"}, p.filter()...)
	k := p.Keep
	for _, keep := range []struct {
		name string
		n    int64
	}{{"last", k.Last}, {"hourly", k.Hourly}, {"daily", k.Daily}, {"weekly", k.Weekly}, {"monthly", k.Monthly}, {"yearly", k.Yearly}} {
		if keep.n > 0 {
			args = append(args, "--keep-"+keep.name, strconv.FormatInt(keep.n, 10))
		}
	}
	if k.Within != "" {
		args = append(args, "--keep-within", k.Within)
	}
	if p.Prune {
		args = append(args, "--prune")
	}
	out, err := p.run(ctx, w.Run, args...)
	if err != nil {
		return Result{}, err
	}
	// With --prune other lines follow the JSON.
	var groups []struct {
		Keep   []json.RawMessage `json:"keep"`
		Remove []json.RawMessage `json:"remove"`
	}
	if out.Stdout != "" {
		if err := json.NewDecoder(strings.NewReader(out.Stdout)).Decode(&groups); err != nil {
			return Result{}, fmt.Errorf("cannot forget in %s: restic printed no JSON: %w", p.Repository, err)
		}
	}
	var r Result
	for _, g := range groups {
		r.Snapshots += int64(len(g.Keep))
		r.Removed += int64(len(g.Remove))
	}
	return r, nil
}

func (p *Params) snapshots(ctx context.Context, w task.Writer) (Result, error) {
	out, err := p.run(ctx, w.Query, append([]string{"snapshots", "--json", "--no-lock"}, p.filter()...)...)
	if err != nil {
		return Result{}, err
	}
	var list []struct {
		ID    string    `json:"id"`
		Time  time.Time `json:"time"`
		Paths []string  `json:"paths"`
	}
	if text := bytes.TrimSpace([]byte(out.Stdout)); len(text) > 0 {
		if err := json.Unmarshal(text, &list); err != nil {
			return Result{}, fmt.Errorf("cannot list the snapshots of %s: %w", p.Repository, err)
		}
	}
	r := Result{Snapshots: int64(len(list))}
	var newest time.Time
	for _, s := range list {
		if s.Time.After(newest) {
			newest = s.Time
			r.Snapshot, r.Time, r.Paths = s.ID, s.Time.UTC().Format(time.RFC3339), s.Paths
		}
	}
	if p.MaxAge != nil && time.Since(newest) > p.MaxAge.Std() {
		if r.Snapshots == 0 {
			return r, fmt.Errorf("%s holds no snapshot", p.Repository)
		}
		return r, fmt.Errorf("the newest snapshot in %s is of %s, older than %s", p.Repository, r.Time, p.MaxAge.Std())
	}
	return r, nil
}
