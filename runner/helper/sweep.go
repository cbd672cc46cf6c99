package helper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"holdfast/runner/host"
)

// sweep removes the temporary files of runs that died. We hold the host's lock, so a
// run without an end is one that has nobody left to end it.
func (s *server) sweep() error {
	infos, err := s.store.Runs()
	if err != nil {
		return err
	}
	errs := []error{sweepState(s.store.Dir(), 10*time.Minute)}
	for _, info := range infos {
		if info.Status != "" {
			continue
		}
		rec, err := s.store.Load(info.ID)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		s.machine.Sweep(rec)
	}
	return errors.Join(errs...)
}

// reap ends the commands that a run left running which was killed, and has those of
// this run noted for the same case. What it says is worth telling, and stops nothing.
func (s *server) reap() error {
	dir := filepath.Join(s.store.Dir(), "running")
	ended, err := host.Reap(dir)
	if ended > 0 {
		err = errors.Join(err, fmt.Errorf("%d commands were ended that a run had left running when it was killed", ended))
	}
	s.machine.Note(dir)
	return err
}

// sweepState removes what the host's own memory did not come to rename. The guard may
// be at work in it beside us, so that only old files count.
func sweepState(dir string, age time.Duration) error {
	var errs []error
	for _, where := range []string{".", "runs/*", "runs/*/blobs"} {
		names, err := filepath.Glob(filepath.Join(dir, where, ".new-*"))
		errs = append(errs, err)
		for _, name := range names {
			if st, err := os.Lstat(name); err == nil && time.Since(st.ModTime()) > age {
				errs = append(errs, os.Remove(name))
			}
		}
	}
	return errors.Join(errs...)
}
