package history_test

import (
	"fmt"
	"testing"
	"time"

	"holdfast/runner/event"
	"holdfast/runner/history"
)

func TestLastRuns(t *testing.T) {
	dir := t.TempDir()
	for i, one := range []struct {
		id, playbook string
		mode         event.Mode
		cut          int // events that are missing at the end
	}{
		{"20260301-120000-aaaa0000", "site", event.Apply, 0},
		{"20260302-120000-aaaa0000", "site", event.Apply, 0},
		{"20260303-120000-aaaa0000", "other", event.Apply, 2},
		{"20260304-120000-aaaa0000", "site", event.Verify, 0},
		{"20260305-120000-aaaa0000", "site", event.Plan, 0},
	} {
		r := run(one.id)
		r.Mode, r.Playbook, r.Started = one.mode, one.playbook, began.Add(time.Duration(i)*time.Minute)
		events := stream(one.id)
		record(t, dir, r, events[:len(events)-one.cut])
	}
	last, err := open(t, dir).LastRuns(t.Context(), event.Apply, event.Verify)
	if err != nil {
		t.Fatal(err)
	}
	say := func(list []history.LastRun) (out string) {
		for _, l := range list {
			out += fmt.Sprintf("%s %s %s %q %q %v\n", l.Run[:8], l.Mode, l.Playbook, l.Status, l.Error, l.Started.Sub(began))
		}
		return out
	}
	want := map[string]string{
		"a": "20260304 verify site \"ok\" \"\" 3m0s\n20260303 apply other \"ok\" \"\" 2m0s\n20260302 apply site \"ok\" \"\" 1m0s\n",
		"b": "20260304 verify site \"failed\" \"motd: the word is ***\" 3m0s\n20260303 apply other \"\" \"\" 2m0s\n20260302 apply site \"failed\" \"motd: the word is ***\" 1m0s\n",
	}
	for host, text := range want {
		if got := say(last[host]); got != text {
			t.Errorf("%s:\n%swant\n%s", host, got, text)
		}
	}
	if len(last) != len(want) {
		t.Errorf("%d hosts, want %d", len(last), len(want))
	}
}
