package secrets_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"holdfast/runner/secrets"
)

const canary = "c4n4ry-value"

func providers(env map[string]string) *secrets.Providers {
	return &secrets.Providers{Getenv: func(name string) string { return env[name] }}
}

func write(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestGet(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	if err := os.WriteFile(home+"/pw", []byte(canary+"\r\n\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := providers(map[string]string{"PW": canary})
	private := write(t, "pw", canary+"\n", 0o600)
	script := write(t, "script", "#!/bin/sh\necho "+canary+"\n", 0o700)
	for _, name := range []string{"env:PW", "file:" + private, "file:~/pw", "cmd:" + script, "cmd:echo   " + canary} {
		got, err := p.Get(nil, name)
		if err != nil || got.Reveal() != canary {
			t.Errorf("Get(%q): %v", name, err)
		}
		if text := fmt.Sprintf("%v %+v %#v", got, got, got); strings.Contains(text, canary) {
			t.Errorf("the secret prints as %s", text)
		}
	}
	if got := len(p.All()); got != 5 {
		t.Errorf("%d secrets are known, want 5", got)
	}
}

func TestGetFaults(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(dir+"/pipe", 0o600); err != nil {
		t.Fatal(err)
	}
	open := write(t, "open", canary, 0o644)
	tests := []struct {
		name, want string
	}{
		{"env:NONE", `cannot read the secret "env:NONE": the variable is not set`},
		{"env:SHORT", `cannot use the secret "env:SHORT": it is shorter than 4 bytes, and masking it would shred the output`},
		{"file:" + dir + "/none", "no such file or directory"},
		{"file:" + open, "others can read the file: chmod 600 " + open},
		{"file:" + dir, "it is not a regular file"},
		{"file:" + dir + "/pipe", "it is not a regular file"},
		{"file:" + write(t, "large", strings.Repeat("x", 65<<10), 0o600), "the file is larger than 64 KiB"},
		{"cmd:", "the command is empty"},
		{"cmd:/nonexistent/program", "no such file or directory"},
		{"cmd:false", "exit status 1"},
		{"cmd:cat /dev/zero", "it printed more than 64 KiB"},
		{"vault:x", "cannot find a secret: want its name with a provider in front"},
		{"", "cannot find a secret"},
	}
	p := providers(map[string]string{"SHORT": "abc"})
	for _, tt := range tests {
		if got, err := p.Get(nil, tt.name); err == nil || !strings.Contains(err.Error(), tt.want) || !got.IsZero() {
			t.Errorf("Get(%q) = %v, want %q", tt.name, err, tt.want)
		}
	}
	if got := len(p.All()); got != 0 {
		t.Errorf("%d secrets are known after failures", got)
	}
}

// Somebody who gives the secret in place of its name must not read it in an error.
func TestTextsByMistakeAreNotRepeated(t *testing.T) {
	p := providers(nil)
	for _, name := range []string{canary, canary + ":rest", "x:" + canary} {
		if _, err := p.Get(nil, name); err == nil || strings.Contains(err.Error(), "c4n4ry") {
			t.Errorf("Get(%q) = %v", name, err)
		}
	}
}

func TestFetchedOnce(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	script := write(t, "script", "#!/bin/sh\necho run >>"+log+"\necho "+canary+"\n", 0o700)
	p := providers(nil)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if got, err := p.Get(nil, "cmd:"+script); err != nil || got.Reveal() != canary {
				t.Errorf("got %v", err)
			}
		})
	}
	wg.Wait()
	if data, err := os.ReadFile(log); err != nil || string(data) != "run\n" {
		t.Errorf("the program ran: %q, %v", data, err)
	}
}

// The program is called the way that sops takes it; what it is called with is not secret.
func TestSops(t *testing.T) {
	dir := t.TempDir()
	script := "#!/bin/sh\nfor a; do echo \"$a\"; done >" + dir + "/args\necho " + canary + "\n"
	if err := os.WriteFile(dir+"/sops", []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	for name, want := range map[string]string{
		"sops:s.yaml#db.0.password": "--decrypt\n--extract\n[\"db\"][0][\"password\"]\n./s.yaml\n",
		"sops:/etc/s.yaml":          "--decrypt\n/etc/s.yaml\n",
	} {
		got, err := providers(nil).Get(nil, name)
		if err != nil || got.Reveal() != canary {
			t.Errorf("Get(%q): %v", name, err)
		}
		if args, err := os.ReadFile(dir + "/args"); err != nil || string(args) != want {
			t.Errorf("Get(%q) calls it with %q, want %q", name, args, want)
		}
	}
	for _, name := range []string{"sops:", "sops:x#", `sops:x#a"]["b`} {
		if _, err := providers(nil).Get(nil, name); err == nil || !strings.Contains(err.Error(), "want the path of a file") {
			t.Errorf("Get(%q) = %v", name, err)
		}
	}
	t.Setenv("PATH", "/nonexistent")
	if _, err := providers(nil).Get(nil, "sops:x"); err == nil || !strings.Contains(err.Error(), "there is no program sops here") {
		t.Errorf("got %v", err)
	}
}
