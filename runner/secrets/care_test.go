package secrets_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"

	"holdfast/runner/secrets"
	"holdfast/tasks/secret"
)

func TestAges(t *testing.T) {
	s := newStore(t)
	set(t, s, fleet("young"), "hunter22")
	if err := s.Set(fleet("short"), secret.New("hunter22"), "7d"); err != nil {
		t.Fatal(err)
	}
	if err := s.Set(fleet("for_ever"), secret.New("hunter22"), secrets.Never); err != nil {
		t.Fatal(err)
	}
	s.Now = func() time.Time { return now.Add(8 * 24 * time.Hour) }
	overdue := func() string {
		refs, err := s.Refs()
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, ref := range refs {
			info, err := s.Info(ref)
			if err != nil || info.Strange != "" || !info.Set.Equal(now) {
				t.Errorf("%s: %+v, %v", ref, info, err)
			}
			if info.Overdue {
				out = append(out, ref.Name)
			}
		}
		return strings.Join(out, " ")
	}
	if got := overdue(); got != "short" {
		t.Errorf("overdue after 8 days: %s", got)
	}
	s.Now = func() time.Time { return now.Add(90 * 24 * time.Hour) }
	if got := overdue(); got != "short young" {
		t.Errorf("overdue after 90 days: %s", got)
	}
	if found, err := s.Check(); err != nil || !anyFinding(found, "secrets/fleet/young.age", "overdue: it was set on 2026-11-28") {
		t.Errorf("check finds %v, %v", found, err)
	}
	set(t, s, fleet("short"), "another one") // keeps its period
	if info, err := s.Info(fleet("short")); err != nil || info.Overdue || info.RotateAfter != "7d" {
		t.Errorf("got %+v, %v", info, err)
	}
}

func TestRekey(t *testing.T) {
	s := newStore(t)
	for i := range 4 {
		set(t, s, fleet(fmt.Sprintf("s%d", i)), "hunter22")
	}
	mate, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(s.Dir, "recipients.txt"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(mate.Recipient().String() + "\n")
	if err := errors.Join(err, f.Close(), os.WriteFile(filepath.Join(s.Dir, "fleet/s1.age"), []byte("damaged"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if found, _ := s.Check(); !anyFinding(found, "secrets/fleet/s0.age", "it is not encrypted to age1") {
		t.Errorf("check finds %v", found)
	}
	rekey := func(all bool) string {
		var out []string
		err := s.Rekey(all, func(r secrets.Rekeyed) {
			out = append(out, fmt.Sprintf("%s %v %v", r.Ref.Name, r.Done, r.Err != nil))
		})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(out, ", ")
	}
	if got := rekey(false); got != "s0 true false, s1 false true, s2 true false, s3 true false" {
		t.Errorf("got %s", got)
	}
	set(t, s, fleet("s1"), "hunter22")
	if got := rekey(false); got != "s0 false false, s1 false false, s2 false false, s3 false false" {
		t.Errorf("the second time: %s", got)
	}
	if got := rekey(true); got != "s0 true false, s1 true false, s2 true false, s3 true false" {
		t.Errorf("all: %s", got)
	}
	theirs := again(s)
	inProject := filepath.Join(filepath.Dir(s.Dir), "mate")
	if err := os.WriteFile(inProject, []byte(mate.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	theirs.Keys = &secrets.Keyring{Files: []string{inProject}}
	if got, err := theirs.Read(fleet("s2")); err != nil || got.Reveal() != "hunter22" {
		t.Errorf("the new recipient cannot read it: %v", err)
	}
	if found, err := theirs.Check(); err != nil || len(found) != 1 || !anyFinding(found, inProject, "inside of the project") {
		t.Errorf("check finds %v, %v", found, err)
	}
	if info, err := s.Info(fleet("s0")); err != nil || !info.Set.Equal(now) || info.Strange != "" {
		t.Errorf("a rekey is no new value: %+v, %v", info, err)
	}
	if found, err := s.Check(); err != nil || len(found) != 0 {
		t.Errorf("check finds %v, %v", found, err)
	}
}

// A process that is killed while it writes leaves the old secret or the new one.
func TestKilledWhileWriting(t *testing.T) {
	if dir := os.Getenv("HOLDFAST_TEST_STORE"); dir != "" {
		s := openStore(dir)
		for i := 0; ; i++ {
			unlock, err := s.Lock()
			if err == nil {
				err = s.Set(fleet("a"), secret.New(fmt.Sprintf("value %d", i)), "")
			}
			if err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			unlock()
		}
	}
	s := newStore(t)
	set(t, s, fleet("a"), "value 0")
	for i := range 12 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWhileWriting$")
		cmd.Env = append(os.Environ(), "HOLDFAST_TEST_STORE="+filepath.Dir(s.Dir))
		var out bytes.Buffer
		cmd.Stdout = &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(30+7*i) * time.Millisecond)
		_ = cmd.Process.Kill()
		if err := cmd.Wait(); err == nil || out.Len() > 0 {
			t.Fatalf("it ended by itself: %s", out.String())
		}
		got, err := again(s).Read(fleet("a"))
		if err != nil || !strings.HasPrefix(got.Reveal(), "value ") {
			t.Fatalf("after a kill: %v", err)
		}
		// Its lock does not outlive it.
		unlock, err := again(s).Lock()
		if err != nil {
			t.Fatal(err)
		}
		unlock()
	}
	if left, _ := filepath.Glob(filepath.Join(s.Dir, ".lock")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestLock(t *testing.T) {
	s := newStore(t)
	var wg sync.WaitGroup
	var inside, most atomic.Int64
	for range 20 {
		wg.Go(func() {
			unlock, err := again(s).Lock()
			if err != nil {
				t.Error(err)
				return
			}
			if n := inside.Add(1); n > 1 {
				most.Store(n)
			}
			time.Sleep(time.Millisecond)
			inside.Add(-1)
			unlock()
		})
	}
	wg.Wait()
	if n := most.Load(); n > 0 {
		t.Errorf("%d were inside at the same time", n)
	}
}

// A disk that is full costs the new value and nothing else.
func TestFullDisk(t *testing.T) {
	if dir := os.Getenv("HOLDFAST_TEST_FULL"); dir != "" {
		signal.Ignore(syscall.SIGXFSZ)
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 300, Max: 300}); err != nil {
			t.Fatal(err)
		}
		err := openStore(dir).Set(fleet("a"), secret.New("the new value"), "")
		if !errors.Is(err, syscall.EFBIG) || !strings.Contains(err.Error(), "cannot write secrets/fleet/a.age") {
			t.Fatalf("got %v", err)
		}
		return
	}
	s := newStore(t)
	set(t, s, fleet("a"), "the old value")
	cmd := exec.Command(os.Args[0], "-test.run=^TestFullDisk$")
	cmd.Env = append(os.Environ(), "HOLDFAST_TEST_FULL="+filepath.Dir(s.Dir))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got, err := again(s).Read(fleet("a")); err != nil || got.Reveal() != "the old value" {
		t.Errorf("the old value is gone: %v", err)
	}
	if found, err := again(s).Check(); err != nil || len(found) != 0 {
		t.Errorf("left behind: %v, %v", found, err)
	}
}

// A file that age itself made has no note. It can be used, and its age is not known.
func TestFilesOfAge(t *testing.T) {
	s := newStore(t)
	set(t, s, fleet("mine"), "hunter22")
	data, err := os.ReadFile(filepath.Join(s.Dir, "fleet/mine.age"))
	if err := errors.Join(err, os.WriteFile(filepath.Join(s.Dir, "fleet/theirs.age"), data, 0o644)); err != nil {
		t.Fatal(err)
	}
	s = again(s)
	if got, err := s.Read(fleet("theirs")); err != nil || got.Reveal() != "hunter22" {
		t.Errorf("got %v", err)
	}
	info, err := s.Info(fleet("theirs"))
	if err != nil || !info.Overdue || info.Strange != "it has no note" {
		t.Errorf("got %+v, %v", info, err)
	}
	// A note of another file is not believed, whatever it says.
	note, err := os.ReadFile(filepath.Join(s.Dir, "fleet/mine.json"))
	if err := errors.Join(err, os.WriteFile(filepath.Join(s.Dir, "fleet/mine.age"), append(data, '\n'), 0o600), os.WriteFile(filepath.Join(s.Dir, "fleet/theirs.json"), []byte("{"), 0o600)); err != nil {
		t.Fatal(err, note)
	}
	for name, want := range map[string]string{"mine": "it was changed by something else since, or a change was cut off", "theirs": "its note cannot be read: unexpected EOF"} {
		if info, err := s.Info(fleet(name)); err != nil || info.Strange != want {
			t.Errorf("%s: got %+v, %v, want %q", name, info, err, want)
		}
	}
	if err := s.Rekey(false, func(r secrets.Rekeyed) {
		if r.Err != nil {
			t.Error(r.Err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	found, err := s.Check()
	if err != nil || len(found) != 1 || !anyFinding(found, "secrets/fleet/theirs.age", "when it was set is not known") {
		t.Errorf("check finds %v, %v", found, err)
	}
}
