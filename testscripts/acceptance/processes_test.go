//go:build hosts

package acceptance_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// recorder hears from the kernel of every process that starts on this machine, and
// so in its hosts: the process connector, proc(5) and cn_proc.h. It misses nothing
// without saying so.
type recorder struct {
	t    *testing.T
	fd   int
	wg   sync.WaitGroup
	mu   sync.Mutex
	tree helperTree
	// What descends from a helper, by process: the command that was started.
	helper map[uint32]bool
	below  map[uint32]int // index into started
	err    error
	spaces map[string]bool // of processes, of our hosts: others may work on the machine too
}

// neverExecuted stands for a process that started no program.
const neverExecuted = "a copy of the helper"

// helperTree is what the helpers did meanwhile.
type helperTree struct {
	helpers int
	started []string // every process that descends from one, by its command
}

const (
	cnProc      = 1 // CN_IDX_PROC and CN_VAL_PROC
	listen      = 1 // PROC_CN_MCAST_LISTEN
	forked      = 0x1
	executed    = 0x2
	headerSize  = 16 + 20 // nlmsghdr and cn_msg
	payloadFrom = headerSize + 16
)

// watch begins to record; stop ends it.
func watch(t *testing.T) *recorder {
	t.Helper()
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_CONNECTOR)
	if err != nil {
		t.Fatalf("cannot hear of processes from the kernel: %v", err)
	}
	r := &recorder{t: t, fd: fd, helper: map[uint32]bool{}, below: map[uint32]int{}, spaces: map[string]bool{}}
	for _, name := range names {
		var space bytes.Buffer
		if _, err := site.Exec(t.Context(), name, nil, &space, &space, "readlink", "/proc/self/ns/pid"); err != nil {
			t.Fatal(err)
		}
		r.spaces[strings.TrimSpace(space.String())] = true
	}
	if err := r.subscribe(); err != nil {
		t.Fatalf("cannot hear of processes from the kernel: %v", errors.Join(err, unix.Close(fd)))
	}
	r.wg.Add(1)
	go func() {
		defer r.wg.Done()
		r.read()
	}()
	return r
}

func (r *recorder) subscribe() error {
	err := unix.SetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)
	if err == nil {
		err = unix.SetsockoptTimeval(r.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000})
	}
	if err == nil {
		err = unix.Bind(r.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: cnProc})
	}
	if err != nil {
		return err
	}
	msg := binary.NativeEndian.AppendUint32(nil, headerSize+4)
	msg = binary.NativeEndian.AppendUint16(msg, unix.NLMSG_DONE)
	msg = append(msg, make([]byte, 10)...)              // flags, sequence, port
	msg = binary.NativeEndian.AppendUint32(msg, cnProc) // idx
	msg = binary.NativeEndian.AppendUint32(msg, cnProc) // val
	msg = append(msg, make([]byte, 8)...)               // sequence, acknowledgement
	msg = binary.NativeEndian.AppendUint16(msg, 4)      // length of the data
	msg = append(msg, 0, 0)                             // flags
	msg = binary.NativeEndian.AppendUint32(msg, listen) // the data
	return unix.Sendto(r.fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

func (r *recorder) read() {
	buf := make([]byte, 4096)
	for {
		n, _, err := unix.Recvfrom(r.fd, buf, 0)
		r.mu.Lock()
		ended := r.fd < 0
		if err == nil {
			r.event(buf[:n])
		} else if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) && !ended {
			r.err = err // ENOBUFS too: something was missed
		}
		r.mu.Unlock()
		if ended || err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// event takes in a fork or an exec.
func (r *recorder) event(b []byte) {
	if len(b) < payloadFrom+16 {
		return
	}
	word := func(i int) uint32 { return binary.NativeEndian.Uint32(b[payloadFrom+4*i:]) }
	switch binary.NativeEndian.Uint32(b[headerSize:]) {
	case forked:
		parent, child, process := word(1), word(2), word(3)
		if child != process {
			return // a thread
		}
		if i, ok := r.below[parent]; ok {
			r.below[child] = i
		} else if r.helper[parent] {
			r.below[child] = len(r.tree.started)
			r.tree.started = append(r.tree.started, neverExecuted)
		}
	case executed:
		r.executed(word(1))
	}
}

func (r *recorder) executed(process uint32) {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", process))
	if i, ok := r.below[process]; ok {
		if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", process)); err == nil && len(line) > 0 {
			r.tree.started[i] = strings.ReplaceAll(strings.TrimRight(string(line), "\x00"), "\x00", " ")
		}
		return
	}
	space, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", process))
	if err == nil && filepath.Base(exe) == "holdfast-helper" && r.spaces[space] {
		r.helper[process] = true
		r.tree.helpers++
	}
}

// stop ends the recording, after what happened before it was heard.
func (r *recorder) stop() helperTree {
	r.t.Helper()
	time.Sleep(300 * time.Millisecond)
	r.mu.Lock()
	fd := r.fd
	r.fd = -1
	r.mu.Unlock()
	r.wg.Wait() // it wakes by its time limit
	if err := unix.Close(fd); err != nil {
		r.t.Error(err)
	}
	if r.err != nil {
		r.t.Fatalf("cannot hear of all processes: %v", r.err)
	}
	return r.tree
}
