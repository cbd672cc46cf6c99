package sshconn_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"

	"holdfast/runner/remote"
	"holdfast/runner/sshconn"
)

func hostKeyError(t *testing.T, target sshconn.Target) *remote.HostKey {
	t.Helper()
	_, err := sshconn.Dial(t.Context(), target, sshconn.Options{})
	var key *remote.HostKey
	if !errors.As(err, &key) {
		t.Fatalf("got error %v, want a HostKey", err)
	}
	return key
}

func TestUnknownHostKey(t *testing.T) {
	b := newBench(t)
	file := b.file(".ssh/known_hosts")
	for _, text := range []string{"", "# nothing\n", knownLine(b.port+1, b.hostKey.PublicKey())} {
		write(t, file, text)
		got := hostKeyError(t, b.target)
		want := remote.HostKey{
			Host: "web1", Address: fmt.Sprintf("127.0.0.1:%d", b.port),
			Fingerprint: ssh.FingerprintSHA256(b.hostKey.PublicKey()), File: file,
		}
		if *got != want {
			t.Errorf("known hosts %q: got %+v, want %+v", text, *got, want)
		}
	}
	if offered, _ := b.seen(); len(offered) != 0 {
		t.Errorf("keys were offered to a host that is not known: %v", offered)
	}
}

func TestNoKnownHostsFile(t *testing.T) {
	b := newBench(t)
	b.target.KnownHosts = []string{b.file("none/here")}
	if key := hostKeyError(t, b.target); key.Changed {
		t.Errorf("got %+v, want unknown", key)
	}
}

func TestChangedHostKey(t *testing.T) {
	b := newBench(t)
	file := b.file(".ssh/known_hosts")
	for name, other := range map[string]ssh.Signer{"of the same kind": ed25519Key(t), "of another kind": ecdsaKey(t)} {
		text := knownLine(b.port, other.PublicKey())
		write(t, file, text)
		b.target.AcceptNew = true
		key := hostKeyError(t, b.target)
		if !key.Changed || key.File != file || key.Fingerprint != ssh.FingerprintSHA256(b.hostKey.PublicKey()) {
			t.Errorf("%s: got %+v, want a changed key", name, key)
		}
		if got := read(t, file); got != text {
			t.Errorf("%s: known hosts: got %q, want %q", name, got, text)
		}
	}
	if offered, _ := b.seen(); len(offered) != 0 {
		t.Errorf("keys were offered to a host whose key changed: %v", offered)
	}
}

func TestRevokedHostKey(t *testing.T) {
	b := newBench(t)
	b.target.AcceptNew = true
	write(t, b.file(".ssh/known_hosts"), "@revoked * "+string(ssh.MarshalAuthorizedKey(b.hostKey.PublicKey())))
	_, err := sshconn.Dial(t.Context(), b.target, sshconn.Options{})
	if all := attempts(t, err); all[0].Kind != sshconn.Untrust || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("got %v, want a revoked key", err)
	}
}

func TestDamagedKnownHosts(t *testing.T) {
	b := newBench(t)
	write(t, b.file(".ssh/known_hosts"), "web1 ssh-ed25519 AAAA\n")
	_, err := sshconn.Dial(t.Context(), b.target, sshconn.Options{})
	if err == nil || !strings.Contains(err.Error(), "known_hosts:1") {
		t.Errorf("got %v, want an error with file and line", err)
	}
}

func TestAcceptNew(t *testing.T) {
	b := newBench(t)
	file := b.file("new/known_hosts")
	b.target.KnownHosts, b.target.AcceptNew = []string{file}, true
	dial(t, b.target, sshconn.Options{})
	want := knownLine(b.port, b.hostKey.PublicKey())
	if got := read(t, file); got != want {
		t.Errorf("known hosts: got %q, want %q", got, want)
	}
	b.target.AcceptNew = false
	dial(t, b.target, sshconn.Options{})
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode: got %v, %v, want 0600", info.Mode(), err)
	}
}

func TestAcceptNewAfterALineWithoutEnd(t *testing.T) {
	b := newBench(t)
	file := b.file(".ssh/known_hosts")
	other := strings.TrimSuffix(knownLine(1, ed25519Key(t).PublicKey()), "\n")
	write(t, file, other)
	b.target.AcceptNew = true
	dial(t, b.target, sshconn.Options{})
	if got, want := read(t, file), other+"\n"+knownLine(b.port, b.hostKey.PublicKey()); got != want {
		t.Errorf("known hosts: got %q, want %q", got, want)
	}
}

func TestAcceptNewAtOnceRecordsOnce(t *testing.T) {
	b := newBench(t)
	file := b.file("new/known_hosts")
	b.target.KnownHosts, b.target.AcceptNew = []string{file}, true
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			c, err := sshconn.Dial(t.Context(), b.target, sshconn.Options{})
			if err != nil {
				t.Error(err)
				return
			}
			_ = c.Close()
		})
	}
	wg.Wait()
	if got, want := read(t, file), knownLine(b.port, b.hostKey.PublicKey()); got != want {
		t.Errorf("known hosts: got %q, want %q", got, want)
	}
}

func TestAcceptNewNeedsAFileThatKeeps(t *testing.T) {
	b := newBench(t)
	b.target.KnownHosts, b.target.AcceptNew = []string{"/dev/null"}, true
	if _, err := sshconn.Dial(t.Context(), b.target, sshconn.Options{}); err == nil {
		t.Error("got no error")
	}
}

func TestKeyKnownUnderAnotherPortOfTheLadder(t *testing.T) {
	b := newBench(t)
	shut := closedPort(t)
	file := b.file(".ssh/known_hosts")
	b.target.Ports = []int{b.port, shut}
	write(t, file, knownLine(shut, b.hostKey.PublicKey()))
	dial(t, b.target, sshconn.Options{})
	// The other way round: a different key on another port of the same host.
	b.target.AcceptNew = true
	write(t, file, knownLine(shut, ed25519Key(t).PublicKey()))
	if key := hostKeyError(t, b.target); !key.Changed {
		t.Errorf("got %+v, want a changed key", key)
	}
}

func TestKeyKnownUnderAPortThatIsNotTried(t *testing.T) {
	b := newBench(t)
	before := closedPort(t)
	b.target.Ports, b.target.KnownPorts = []int{b.port}, []int{before}
	file := b.file(".ssh/known_hosts")
	write(t, file, knownLine(before, b.hostKey.PublicKey()))
	dial(t, b.target, sshconn.Options{})
	write(t, file, knownLine(before, ed25519Key(t).PublicKey()))
	if key := hostKeyError(t, b.target); !key.Changed {
		t.Errorf("got %+v, want a changed key", key)
	}
}

func TestHostKeyKindThatIsKnownIsAskedFor(t *testing.T) {
	b := newBench(t)
	for _, known := range []ssh.Signer{ecdsaKey(t), rsaKey(t)} {
		s := newServer(t, ed25519Key(t), known, ecdsaKey(t)).allow("me", account{keys: []ssh.PublicKey{b.key.PublicKey()}})
		if known.PublicKey().Type() == ssh.KeyAlgoECDSA256 {
			s = newServer(t, ed25519Key(t), known).allow("me", account{keys: []ssh.PublicKey{b.key.PublicKey()}})
		}
		b.target.Ports = []int{s.port}
		write(t, b.file(".ssh/known_hosts"), knownLine(s.port, known.PublicKey()))
		dial(t, b.target, sshconn.Options{})
	}
}

func rsaKey(t *testing.T) ssh.Signer {
	t.Helper()
	key, err := rsaOnce()
	if err != nil {
		t.Fatal(err)
	}
	return signerOf(t, key)
}

func TestHashedAndAuthorityLines(t *testing.T) {
	b := newBench(t)
	file := b.file(".ssh/known_hosts")
	name := fmt.Sprintf("[127.0.0.1]:%d", b.port)
	write(t, file, strings.Replace(knownLine(b.port, b.hostKey.PublicKey()), name, xknownhosts.HashHostname(name), 1))
	dial(t, b.target, sshconn.Options{})

	ca, plain := ed25519Key(t), ed25519Key(t)
	cert := &ssh.Certificate{
		Key: plain.PublicKey(), CertType: ssh.HostCert, ValidPrincipals: []string{"127.0.0.1"}, ValidBefore: ssh.CertTimeInfinity,
	}
	if err := cert.SignCert(rand.Reader, ca); err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewCertSigner(cert, plain)
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, signer, plain).allow("me", account{keys: []ssh.PublicKey{b.key.PublicKey()}})
	b.target.Ports = []int{s.port}
	write(t, file, "@cert-authority "+knownLine(s.port, ca.PublicKey()))
	dial(t, b.target, sshconn.Options{})
	write(t, file, "@cert-authority "+knownLine(s.port, ed25519Key(t).PublicKey()))
	if _, err := sshconn.Dial(t.Context(), b.target, sshconn.Options{}); err == nil {
		t.Error("a certificate of another authority: got no error")
	}
}

func TestScanAndRecord(t *testing.T) {
	b := newBench(t)
	s := newServer(t, b.hostKey, ecdsaKey(t), rsaKey(t))
	b.target.Ports = []int{closedPort(t), s.port}
	file := b.file("trusted")
	b.target.KnownHosts = []string{file}
	scan := func() []sshconn.HostKeyInfo {
		t.Helper()
		keys, err := sshconn.Scan(t.Context(), b.target)
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	said := func(keys []sshconn.HostKeyInfo) string {
		var all []string
		for _, k := range keys {
			all = append(all, k.Type+"="+string(k.Trust))
		}
		return strings.Join(all, " ")
	}
	keys := scan()
	if got, want := said(keys), "ssh-ed25519=new ecdsa-sha2-nistp256=new ssh-rsa=new"; got != want {
		t.Fatalf("scan: got %q, want %q", got, want)
	}
	if keys[0].Fingerprint != ssh.FingerprintSHA256(b.hostKey.PublicKey()) || keys[0].Host != "web1" {
		t.Errorf("first key: got %+v", keys[0])
	}
	for range 2 {
		if err := sshconn.Record("", keys[:2], false); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := read(t, file), keys[0].Line+"\n"+keys[1].Line+"\n"; got != want {
		t.Errorf("recorded: got %q, want %q", got, want)
	}
	if got, want := said(scan()), "ssh-ed25519=known ecdsa-sha2-nistp256=known ssh-rsa=new"; got != want {
		t.Errorf("scan after recording: got %q, want %q", got, want)
	}
	if offered, _ := s.seen(); len(offered) != 0 {
		t.Errorf("a scan offered %v", offered)
	}
	if _, err := sshconn.Scan(t.Context(), sshconn.Target{Name: "x", Address: "127.0.0.1", Ports: []int{closedPort(t)}}); attempts(t, err)[0].Kind != sshconn.Refused {
		t.Errorf("scan of a closed port: got %v", err)
	}
}

func TestRecordRefusesWhatDiffers(t *testing.T) {
	b := newBench(t)
	keys, err := sshconn.Scan(t.Context(), b.target)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("[127.0.0.1]:%d", b.port)
	other, third := ed25519Key(t).PublicKey(), ecdsaKey(t).PublicKey()
	line := func(hosts string, key ssh.PublicKey) string {
		return hosts + " " + string(ssh.MarshalAuthorizedKey(key))
	}
	keep := "# mine\n" + line("elsewhere", other)
	good := keys[0].Line + "\n"
	cases := []struct{ name, before, after string }{
		{"another key", keep + line(name, other), keep + good},
		{"another key of another kind", keep + line(name, third), keep + good},
		{"a hashed name", keep + line(xknownhosts.HashHostname(name), other), keep + good},
		{"a line for two hosts", line("a,"+name+",b", other), line("a,b", other) + good},
		{"a line without end", strings.TrimSuffix(keep+line(name, other), "\n"), keep + good},
	}
	for _, tc := range cases {
		file := b.file("changed")
		write(t, file, tc.before)
		var key *remote.HostKey
		if err := sshconn.Record(file, keys, false); !errors.As(err, &key) || !key.Changed {
			t.Errorf("%s: got %v, want a changed key", tc.name, err)
		}
		if got := read(t, file); got != tc.before {
			t.Errorf("%s: the file was touched: %q", tc.name, got)
		}
		if err := sshconn.Record(file, keys, true); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		if got := read(t, file); got != tc.after {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.after)
		}
	}
	if err := sshconn.Record(b.file("changed"), []sshconn.HostKeyInfo{{Address: "x:1", Line: "x"}}, true); err == nil {
		t.Error("a key that was not scanned: got no error")
	}
}

func TestRecordThroughASymbolicLink(t *testing.T) {
	b := newBench(t)
	keys, err := sshconn.Scan(t.Context(), b.target)
	if err != nil {
		t.Fatal(err)
	}
	real, link := b.file("real"), b.file("link")
	write(t, real, knownLine(b.port, ed25519Key(t).PublicKey()))
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	if err := sshconn.Record(link, keys, true); err != nil {
		t.Fatal(err)
	}
	if got, want := read(t, real), keys[0].Line+"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
