package guard_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/runner/guard"
)

func armed(t *testing.T, within time.Duration, paths ...string) *guard.Guard {
	t.Helper()
	g := guard.Open(t.TempDir())
	if err := g.Arm(guard.State{Run: "r1", Steps: []int{1, 2}, Digest: guard.DigestOf("nonce"), Paths: paths, Within: within}); err != nil {
		t.Fatal(err)
	}
	return g
}

func status(t *testing.T, g *guard.Guard) guard.Status {
	t.Helper()
	s, err := g.State()
	if err != nil {
		t.Fatal(err)
	}
	return s.Status
}

func TestProofOfEveryPathConfirms(t *testing.T) {
	g := armed(t, time.Minute, "a", "b")
	if _, err := g.Prove("nonce", 1); err != nil {
		t.Fatal(err)
	}
	if got := status(t, g); got != guard.Armed {
		t.Errorf("after one of two proofs: got %q, want armed", got)
	}
	if _, err := g.Prove("nonce", 0); err != nil {
		t.Fatal(err)
	}
	if got := status(t, g); got != guard.Confirmed {
		t.Errorf("after both proofs: got %q, want confirmed", got)
	}
	if st, err := g.Claim(true, "too late"); st != nil || err != nil {
		t.Errorf("Claim after confirmation: got %v, %v, want nothing", st, err)
	}
}

func TestProofIsRefused(t *testing.T) {
	tests := map[string]struct {
		within time.Duration
		nonce  string
		path   int
		want   string
	}{
		"of another run":         {time.Minute, "other", 0, "another run's proof"},
		"of a path that is none": {time.Minute, "nonce", 7, "no path 7"},
		"after the deadline":     {time.Nanosecond, "nonce", 0, "it is armed"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := armed(t, tt.within, "a")
			time.Sleep(time.Millisecond)
			_, err := g.Prove(tt.nonce, tt.path)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Prove: got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestGuardsDoNotOverlap(t *testing.T) {
	g := armed(t, time.Minute, "a")
	err := g.Arm(guard.State{Run: "r2", Within: time.Minute, Paths: []string{"a"}})
	var busy *guard.Busy
	if !errors.As(err, &busy) || busy.State.Run != "r1" {
		t.Errorf("Arm over an armed guard: got %v, want Busy of r1", err)
	}
	if over, err := g.Retire(); over || err != nil {
		t.Errorf("Retire of an armed guard: got %v, %v, want false", over, err)
	}
}

func TestDeadlineIsClaimedOnceAndEndsInAVerdict(t *testing.T) {
	g := armed(t, time.Nanosecond, "a")
	time.Sleep(time.Millisecond)
	st, err := g.Claim(false, "late")
	if err != nil || st == nil || st.Status != guard.Undoing || st.Message != "late" {
		t.Fatalf("Claim: got %+v, %v", st, err)
	}
	if _, err := g.Confirm("somebody"); err == nil {
		t.Error("Confirm while undoing: got no error")
	}
	if st, err := g.Claim(false, "again"); err != nil || st == nil || st.Message != "late" {
		t.Errorf("an undo that died is taken up again: got %+v, %v", st, err)
	}
	if err := g.Verdict(guard.Undone, "done"); err != nil {
		t.Fatal(err)
	}
	if err := g.Verdict(guard.Broken, "again"); err == nil {
		t.Error("a second verdict: got no error")
	}
}

func TestAnotherBootIsOverdue(t *testing.T) {
	g := armed(t, time.Hour, "a")
	if st, err := g.Claim(false, "x"); st != nil || err != nil {
		t.Fatalf("Claim in time: got %v, %v", st, err)
	}
	file := filepath.Join(g.Dir(), "state.json")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(b), `"boot":"`) + len(`"boot":"`)
	if err := os.WriteFile(file, append(b[:at:at], append([]byte("0000"), b[at+4:]...)...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Prove("nonce", 0); err == nil {
		t.Error("a proof from before the reboot: got no error")
	}
	if st, err := g.Claim(false, "rebooted"); st == nil || err != nil {
		t.Errorf("Claim after a reboot: got %v, %v, want the state", st, err)
	}
}

// TestWallClockDoesNotCount: a clock that is set forward or back by a day makes a guard
// neither overdue nor patient, because what it noted of that clock is never compared.
func TestWallClockDoesNotCount(t *testing.T) {
	for _, jump := range []time.Duration{-24 * time.Hour, 24 * time.Hour} {
		for _, within := range []time.Duration{time.Hour, time.Nanosecond} {
			g := armed(t, within, "a")
			file := filepath.Join(g.Dir(), "state.json")
			var state map[string]any
			text, err := os.ReadFile(file)
			if err == nil {
				err = json.Unmarshal(text, &state)
			}
			if err != nil {
				t.Fatal(err)
			}
			since, err := time.Parse(time.RFC3339Nano, state["since"].(string))
			if err != nil {
				t.Fatal(err)
			}
			// To a clock that jumped, the guard was armed that much earlier or later.
			state["since"] = since.Add(-jump)
			if text, err = json.Marshal(state); err == nil {
				err = os.WriteFile(file, text, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
			st, err := g.Claim(false, "late")
			if overdue := within == time.Nanosecond; err != nil || (st != nil) != overdue {
				t.Errorf("a jump of %s with a guard of %s: got %+v, %v, want overdue %v", jump, within, st, err, overdue)
			}
		}
	}
}

func TestExtendNeverMovesTheDeadlineBack(t *testing.T) {
	g := armed(t, time.Hour, "a")
	st, err := g.Extend("r1", time.Minute)
	if err != nil || st.Left() < 59*time.Minute {
		t.Errorf("Extend by less: got %v left, %v", st.Left(), err)
	}
	if _, err := g.Extend("r2", time.Minute); err == nil {
		t.Error("Extend by another run: got no error")
	}
}

func TestConfirmAndUndoHaveOneWinner(t *testing.T) {
	for range 50 {
		g := armed(t, time.Minute, "a")
		var won atomic.Int32
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				if i%2 == 0 {
					if _, err := g.Prove("nonce", 0); err == nil {
						won.Add(1)
					}
				} else if st, err := g.Claim(true, "x"); err == nil && st != nil {
					won.Add(100)
				}
			})
		}
		wg.Wait()
		switch got := status(t, g); {
		case got == guard.Confirmed && won.Load() == 1:
		case got == guard.Undoing && won.Load() >= 100 && won.Load()%100 == 0:
		default:
			t.Fatalf("status %q with wins %d", got, won.Load())
		}
	}
}

func TestDamagedStateIsAnError(t *testing.T) {
	g := armed(t, time.Minute, "a")
	if err := os.WriteFile(filepath.Join(g.Dir(), "state.json"), []byte(`{"status":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := g.State(); err == nil {
		t.Error("State: got no error")
	}
	if err := g.Arm(guard.State{Run: "r2", Within: time.Minute}); err == nil {
		t.Error("Arm over a damaged state: got no error")
	}
}
