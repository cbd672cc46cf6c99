package testscripts_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"holdfast/runner/sandbox"
)

// hostCommands are those of the scripts in hosts/, beside the others.
var hostCommands = []command{
	{"on", "program [arg...]", "runs a program on $HOST over its console, not over SSH", true, runOn},
	{"sandbox-reset", "", "gives $HOST a fresh root", false, runReset},
	{"state", "file", "writes what a run could have changed on $HOST: files and their digests, packages, accounts, units", false, runState},
}

// consoleKey finds the sandbox of a script in its values.
type consoleKey struct{}

func console(ts *testscript.TestScript) (*sandbox.Sandbox, string) {
	return ts.Value(consoleKey{}).(*sandbox.Sandbox), ts.Getenv("HOST")
}

func runOn(ts *testscript.TestScript, args []string) error {
	if len(args) == 0 {
		return misuse("want a program")
	}
	s, host := console(ts)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	status, err := s.Exec(ctx, host, nil, ts.Stdout(), ts.Stderr(), args...)
	if err != nil {
		return misuse("%v", err)
	}
	if status != 0 {
		return fmt.Errorf("%s ended with status %d", args[0], status)
	}
	return nil
}

func runReset(ts *testscript.TestScript, args []string) error {
	if len(args) != 0 {
		return misuse("want no arguments")
	}
	s, host := console(ts)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return s.Reset(ctx, host)
}

// stateScript lists what runs change. Left out is what the system's own tools rewrite
// and leave behind: their backups of the account files, caches, locks.
const stateScript = `set -eu
cd /
find etc home root usr/local opt srv -xdev \
  ! -path 'etc/*-' ! -path etc/ld.so.cache ! -path etc/.pwd.lock ! -path etc/mtab ! -path 'etc/ssl/certs*' \
  ! -path 'root/.cache*' ! -path 'etc/systemd/system/*.wants' \
  -printf '%M %u:%g %p %l\n' | sort -k3
find etc home root usr/local opt srv -xdev -type f \
  ! -path 'etc/*-' ! -path etc/ld.so.cache ! -path etc/.pwd.lock ! -path 'etc/ssl/certs*' ! -path 'root/.cache*' \
  -exec sha256sum {} + | sort -k2
dpkg-query -W -f '${db:Status-Abbrev} ${Package} ${Version}\n'
systemctl list-unit-files --no-legend --plain | awk '$2 != "transient" {print $1, $2}' | sort
systemctl list-units --no-legend --plain --type=service --state=active | awk '{print $1}' | grep -vE '^(user|holdfast-guard)' | grep -vE '^(systemd-(hostnamed|timedated|logind)|apt-|dpkg-|e2scrub|fstrim|logrotate|man-db|phpsession|session)' | sort
ls /var/lib/systemd/linger 2>/dev/null || true
`

func runState(ts *testscript.TestScript, args []string) error {
	if len(args) != 1 {
		return misuse("want a file")
	}
	s, host := console(ts)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var out, errs bytes.Buffer
	status, err := s.Exec(ctx, host, strings.NewReader(stateScript), &out, &errs, "/bin/sh")
	if err != nil || status != 0 {
		return fmt.Errorf("cannot list the state: status %d, %v: %s", status, err, errs.String())
	}
	return os.WriteFile(ts.MkAbs(args[0]), out.Bytes(), 0o644)
}
