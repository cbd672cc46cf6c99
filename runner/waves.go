package runner

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"holdfast/playbooks/lang"
	"holdfast/runner/event"
)

// rollout is how the playbook goes over its hosts. Only an apply has waves: whatever
// looks, or takes back, need not wait.
func (r *run) rollout() *lang.Rollout {
	if r.opts.Playbook == nil || r.opts.Mode != event.Apply {
		return nil
	}
	return r.opts.Playbook.Lang.Rollout
}

// over works on all hosts, wave by wave. A wave begins when the one before has ended,
// and nothing begins once more hosts have failed than the rollout allows.
func (r *run) over(ctx, begin context.Context, hosts []*hostRun) {
	sem := semaphore.NewWeighted(int64(r.opts.Forks))
	rollout := r.rollout()
	sizes := rollout.Sizes(len(hosts))
	for i, size := range sizes {
		wave := hosts[:size]
		hosts = hosts[size:]
		if rollout != nil && !r.spent() && !r.stopped() {
			e := &event.Wave{Number: i + 1, Of: len(sizes)}
			for _, h := range wave {
				e.Hosts = append(e.Hosts, h.host.Name)
			}
			r.emit("", event.Event{Wave: e})
		}
		r.wave(ctx, begin, sem, wave)
	}
}

func (r *run) wave(ctx, begin context.Context, sem *semaphore.Weighted, hosts []*hostRun) {
	var wg sync.WaitGroup
	for _, h := range hosts {
		if r.stopped() || r.spent() || sem.Acquire(begin, 1) != nil {
			r.notStarted(h)
			continue
		}
		if r.spent() { // while it waited for its turn
			sem.Release(1)
			r.notStarted(h)
			continue
		}
		wg.Go(func() {
			defer sem.Release(1)
			h.work(ctx)
		})
	}
	wg.Wait()
}

// spent reports whether more hosts failed, were taken back or could not be reached than
// the rollout allows.
func (r *run) spent() bool {
	rollout := r.rollout()
	if rollout == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tally.Failed+r.tally.Unreachable > rollout.Budget
}

// breach says why hosts were left alone.
func (r *run) breach() {
	if r.left == 0 || !r.spent() {
		return
	}
	r.emit("", event.Event{Warning: &event.Warning{
		Message: fmt.Sprintf("the rollout stops: %s failed or out of reach, its budget is %d; not begun: %d",
			hostsOf(r.tally.Failed+r.tally.Unreachable), r.rollout().Budget, r.left),
		Hint: "mend what failed and run it again: hosts that are done stay done; 'holdfast undo " + r.opts.ID + "' takes it back where it was done"}})
}

func hostsOf(n int) string {
	if n == 1 {
		return "1 host"
	}
	return fmt.Sprintf("%d hosts", n)
}

// soak leaves a host alone for the time of the rollout and looks at it once more. It is
// a part of the play: what fails now has failed.
func (h *hostRun) soak(ctx context.Context) error {
	rollout := h.run.rollout()
	if rollout == nil || rollout.Soak == 0 {
		return nil
	}
	if err := h.flush(ctx); err != nil || h.failed {
		return err
	}
	h.run.emit(h.host.Name, event.Event{Progress: &event.Progress{Message: "left alone for " + rollout.Soak.String() + " before it is looked at again"}})
	select {
	case <-time.After(rollout.Soak):
	case <-h.run.opts.Stop:
		return errInterrupted
	case <-ctx.Done():
		return errInterrupted
	}
	return h.verify(ctx)
}
