package helper

import (
	"os"
	"os/signal"
	"syscall"
)

// fileMask is what new files lack when nobody says otherwise. The login that starts a
// helper may have any mask, and package scripts rely on this one.
const fileMask = 0o022

// steady makes the process fit for its work and returns what ends that.
//
// A lost connection shows as an error of writing, after which the current step comes
// to its end: by default its signal would end us in the middle. It is caught and not
// ignored, because the commands that we start would inherit that. A request to end
// stops the current step with everything that it started.
func (s *server) steady() (end func()) {
	syscall.Umask(fileMask)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGPIPE, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for sig := range signals {
			if sig != syscall.SIGPIPE {
				s.stopSoon()
				s.cancelNow()
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(signals)
		<-done
	}
}
