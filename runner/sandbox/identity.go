package sandbox

import (
	"context"
	"crypto/rand"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

//go:embed scripts
var scripts embed.FS

func script(name string) []byte {
	text, err := scripts.ReadFile("scripts/" + name)
	if err != nil {
		panic(err) // the file is part of the program
	}
	return text
}

// layer writes into the topmost layer of a host's root. Folders that it has to
// make are like those of the base, because the topmost layer's are the ones seen.
type layer struct {
	upper string
	lower []string
}

func (l layer) dir(path string) error {
	if path == "/" || path == "." {
		return os.MkdirAll(l.upper, 0o755)
	}
	if _, err := os.Lstat(filepath.Join(l.upper, path)); err == nil {
		return nil
	}
	if err := l.dir(filepath.Dir(path)); err != nil {
		return err
	}
	mode, uid, gid := fs.FileMode(0o755), 0, 0
	for _, lower := range l.lower {
		if info, err := os.Lstat(filepath.Join(lower, path)); err == nil && info.IsDir() {
			mode = info.Mode()
			uid, gid = int(info.Sys().(*syscall.Stat_t).Uid), int(info.Sys().(*syscall.Stat_t).Gid)
			break
		}
	}
	if err := os.Mkdir(filepath.Join(l.upper, path), 0o700); err != nil {
		return err
	}
	if err := os.Chown(filepath.Join(l.upper, path), uid, gid); err != nil {
		return err
	}
	return os.Chmod(filepath.Join(l.upper, path), mode)
}

func (l layer) file(path string, text []byte, mode fs.FileMode) error {
	if err := l.dir(filepath.Dir(path)); err != nil {
		return err
	}
	return writeFile(filepath.Join(l.upper, path), text, mode)
}

// makeKey makes the key that all hosts let in, once.
func (s *Sandbox) makeKey(ctx context.Context) error {
	if _, err := os.Stat(s.KeyPath() + ".pub"); err == nil {
		return nil
	}
	// Made aside and moved into place with the public half last: that half stands
	// for both being whole.
	dir, err := os.MkdirTemp(s.dir, ".key-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	temp := filepath.Join(dir, "key")
	if _, err := run(ctx, "", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "holdfast-sandbox", "-f", temp); err != nil {
		return err
	}
	if err := os.Rename(temp, s.KeyPath()); err != nil {
		return err
	}
	return os.Rename(temp+".pub", s.KeyPath()+".pub")
}

func (s *Sandbox) identityDir(name string) string { return filepath.Join(s.hostDir(name), "identity") }

// spareKeys is where the host keys of removed hosts wait for new ones: making
// them can take longer than booting.
func (s *Sandbox) spareKeys() string { return filepath.Join(s.cache, "keys") }

// makeIdentity makes what a host keeps through resets: its SSH host keys and its
// machine id, which comes last and stands for both.
func (s *Sandbox) makeIdentity(ctx context.Context, name string) error {
	dir := s.identityDir(name)
	if _, err := os.Stat(filepath.Join(dir, "machine-id")); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Join(dir, "etc"), 0o700); err != nil {
		return err
	}
	if !s.takeKeys(filepath.Join(dir, "etc/ssh")) {
		if err := os.MkdirAll(filepath.Join(dir, "etc/ssh"), 0o700); err != nil {
			return err
		}
		if _, err := run(ctx, "", "ssh-keygen", "-A", "-f", dir); err != nil {
			return err
		}
	}
	return writeFile(filepath.Join(dir, "machine-id"), []byte(randomID()+"\n"), 0o444)
}

// takeKeys moves a set of spare host keys to a folder that does not exist.
func (s *Sandbox) takeKeys(to string) bool {
	spares, _ := filepath.Glob(filepath.Join(s.spareKeys(), "*"))
	for _, spare := range spares {
		// Whoever renames it has it.
		if os.Rename(spare, to) == nil {
			return true
		}
	}
	return false
}

// giveKeys keeps the host keys of a host that was whole and goes now. That it
// does not work, as from one disk to another, does no harm.
func (s *Sandbox) giveKeys(name string) {
	dir := s.identityDir(name)
	if err := os.Remove(filepath.Join(dir, "machine-id")); err != nil {
		return
	}
	if os.MkdirAll(s.spareKeys(), 0o700) == nil {
		_ = os.Rename(filepath.Join(dir, "etc/ssh"), filepath.Join(s.spareKeys(), randomID()))
	}
}

func randomID() string {
	id := make([]byte, 16)
	rand.Read(id)
	return hex.EncodeToString(id)
}

// personalise gives a fresh topmost layer the host's identity.
func (s *Sandbox) personalise(h hostState) error {
	dir := s.hostDir(h.Name)
	st, err := findSuite(h.Suite)
	if err != nil {
		return err
	}
	top := layer{upper: filepath.Join(dir, "upper"), lower: append(s.layerPaths(h), h.Base)}
	keys, err := filepath.Glob(filepath.Join(s.identityDir(h.Name), "etc/ssh/ssh_host_*"))
	if err != nil || len(keys) == 0 {
		return fmt.Errorf("cannot find the host keys of %s", h.Name)
	}
	for _, path := range keys {
		mode := fs.FileMode(0o600)
		if strings.HasSuffix(path, ".pub") {
			mode = 0o644
		}
		if err := top.copy(path, filepath.Join("/etc/ssh", filepath.Base(path)), mode); err != nil {
			return err
		}
	}
	if err := top.copy(filepath.Join(s.identityDir(h.Name), "machine-id"), "/etc/machine-id", 0o444); err != nil {
		return err
	}
	if err := top.file("/etc/hostname", []byte(h.Name+"\n"), 0o644); err != nil {
		return err
	}
	if err := top.file("/etc/hosts", hostsFile(h.Name, readText("/etc/hosts")), 0o644); err != nil {
		return err
	}
	if err := top.file("/etc/resolv.conf", resolvConf(), 0o644); err != nil {
		return err
	}
	if err := top.copyParameters(); err != nil {
		return err
	}
	for home, id := range map[string]int{"/root": 0, "/home/" + st.account(): 1000} {
		if err := top.authorise(home, id, s.KeyPath()+".pub"); err != nil {
			return err
		}
	}
	return nil
}

func (l layer) copy(from, to string, mode fs.FileMode) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return l.file(to, text, mode)
}

// authorise lets the key into an account.
func (l layer) authorise(home string, id int, key string) error {
	path := filepath.Join(home, ".ssh/authorized_keys")
	if err := l.copy(key, path, 0o600); err != nil {
		return err
	}
	dir := filepath.Join(l.upper, home, ".ssh")
	return errors.Join(os.Chmod(dir, 0o700), os.Chown(dir, id, id), os.Chown(filepath.Join(l.upper, path), id, id))
}

// copyParameters hands the machine's values of net.core to the host, whose
// network namespace shows a few of them only.
func (l layer) copyParameters() error {
	paths, err := filepath.Glob("/proc/sys/net/core/*")
	if err != nil {
		return err
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		text, _ := os.ReadFile(path)
		if err := l.file(filepath.Join("/usr/lib/sandbox/net-core", filepath.Base(path)), text, info.Mode()); err != nil {
			return err
		}
	}
	return nil
}

// hostsFile makes a host's /etc/hosts. Names that only this machine's own file
// knows, such as those of a mirror, are handed on.
func hostsFile(name, machine string) []byte {
	text := "127.0.0.1\tlocalhost\n127.0.1.1\t" + name + "\n\n" +
		"::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
	extra := ""
	for line := range strings.Lines(machine) {
		entry, _, _ := strings.Cut(line, "#")
		fields := strings.Fields(entry)
		if len(fields) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(fields[0])
		if err != nil || addr.IsLoopback() || addr.IsMulticast() || addr.IsUnspecified() || isOwn(addr) {
			continue
		}
		extra += strings.Join(fields, "\t") + "\n"
	}
	if extra != "" {
		text += "\n" + extra
	}
	return []byte(text)
}

// resolvConf is the machine's own, or what stands behind a resolver that listens
// on loopback, which a host cannot reach.
func resolvConf() []byte {
	for _, path := range []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"} {
		if text := readText(path); hasOutsideServer(text) {
			return []byte(text)
		}
	}
	return []byte(readText("/etc/resolv.conf"))
}

func hasOutsideServer(resolv string) bool {
	for line := range strings.Lines(resolv) {
		if server, ok := strings.CutPrefix(strings.TrimSpace(line), "nameserver"); ok {
			if addr, err := netip.ParseAddr(strings.TrimSpace(server)); err == nil && !addr.IsLoopback() {
				return true
			}
		}
	}
	return false
}

func readText(path string) string {
	text, _ := os.ReadFile(path)
	return string(text)
}
