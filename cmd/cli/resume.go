package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"holdfast/cmd/render"
	"holdfast/inventory"
	"holdfast/runner"
	"holdfast/runner/event"
	"holdfast/runner/history"
	"holdfast/runner/load"
)

func newRunsResumeCmd(env *Env) *cobra.Command {
	o := newPlayOptions(env)
	force := false
	cmd := &cobra.Command{
		Use:   "resume RUN",
		Short: "Go on with a run that did not come to its end on all hosts",
		Long: `Resume applies the playbook of a run again, with the parameters, the inventory and the
hosts that it had, as the history knows them. Hosts that finished well, in the run or
in one that resumed it, are not touched again; all others are brought to the end:
those that failed, were lost, interrupted or taken back, or never had their turn. It is
a run of its own. RUN is the name of a run, the beginning of one, or "last".

A playbook that is not what it was is refused, unless --force is given. A host where
the run is at work says so; 'holdfast runs attach' follows it there.`,
		Example: `  holdfast runs resume last
  holdfast runs resume 20261121-083000-ab12cd34 --output json
  holdfast runs resume 20261121-0830 --force     # the playbook was mended since`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: env.completeRuns,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, done, err := env.resumable(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := o.adopt(r); err != nil {
				return err
			}
			return o.resume(cmd.Context(), r, done, force)
		},
	}
	o.output.flags(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "go on with the playbook as it is now")
	return cmd
}

// resumable returns the first of the runs that go on with each other, and the hosts
// that are done.
func (env *Env) resumable(ctx context.Context, name string) (*history.Run, map[string]bool, error) {
	h, err := env.pastRuns(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer h.Close() //nolint:errcheck // nothing was written
	r, err := pastRun(ctx, h, name, event.Apply)
	if err == nil && r.Resumes != "" {
		r, err = pastRun(ctx, h, r.Resumes)
	}
	if err != nil {
		return nil, nil, err
	}
	if r.Mode != event.Apply {
		return nil, nil, usagef("run the same command again: what was done stays done", "only an apply can be resumed, and %s is of the kind %s", r.ID, r.Mode)
	}
	later, err := h.Runs(ctx, history.RunQuery{Resumes: r.ID})
	if err != nil {
		return nil, nil, err
	}
	done := map[string]bool{}
	for _, one := range append(later, *r) {
		if one.Alive {
			return nil, nil, usagef("wait for its end, or end it: holdfast runs abort "+one.ID, "the run %s is at work on this machine", one.ID)
		}
		for _, host := range one.Hosts {
			done[host.Name] = done[host.Name] || host.Status == event.HostOK
		}
	}
	return r, done, nil
}

// adopt takes the command line of a past run for this one's.
func (o *playOptions) adopt(r *history.Run) error {
	var s spec
	if err := json.Unmarshal(r.Spec, &s); err != nil {
		return fmt.Errorf("cannot resume the run %s: the history does not say how it was started: %w", r.ID, err)
	}
	if s.Hidden || s.Playbook == "" {
		return usagef("run the same command again: what was done stays done", "the run %s was given a secret as a parameter, which the history does not keep", r.ID)
	}
	if err := os.Chdir(s.Dir); err != nil {
		return &usage{fmt.Errorf("cannot go where the run was started: %w", err), "run the same command again: what was done stays done"}
	}
	o.env.Dir = s.Dir
	o.name, o.params, o.read, o.tags, o.forks, o.noRoot, o.reattach = s.Playbook, s.Params, s.Files, s.Tags, s.Forks, s.NoRoot, s.Reattach
	f := o.fleet
	f.inventory, f.acceptNew, f.timeout, f.identity = s.Inventory, s.AcceptNew, s.Timeout, s.Identity
	for _, h := range r.Hosts {
		f.limit = append(f.limit, h.Name) // what a selection chose then, not what it would choose now
	}
	o.resumes = r.ID
	return nil
}

// resume applies what is left.
func (o *playOptions) resume(ctx context.Context, r *history.Run, done map[string]bool, force bool) error {
	// All hosts of the run are bound: the fleet that the playbook sees is the same.
	pb, bound, hosts, blobs, err := o.load(o.name)
	if err != nil {
		return err
	}
	if pb.Digest() != r.Digest && !force {
		return usagef("look at what changed and give --force, or run apply", "the playbook %s is not what it was when the run %s was started", o.name, r.ID)
	}
	var left []*inventory.Host
	var todo []*load.Host
	for i, h := range hosts {
		if !done[h.Name] {
			left, todo = append(left, h), append(todo, bound[i])
		}
	}
	if len(left) == 0 {
		fmt.Fprintf(o.env.Stdout, "nothing is left to do: the run %s came to its end on %s\n", r.ID, render.Plural(len(hosts), "host"))
		return nil
	}
	finished, err := o.engine(ctx, runner.Options{Mode: event.Apply, Playbook: pb, Bound: todo, Hosts: left, Blobs: blobs})
	return firstOf(err, finish(finished))
}
