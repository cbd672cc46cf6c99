package host

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"holdfast/tasks/task"
)

// States in /proc/net (proc(5)): TCP_LISTEN, and TCP_CLOSE for a UDP socket without a peer.
const (
	tcpListen = "0A"
	udpOpen   = "07"
)

// Listeners returns the sockets that accept connections or datagrams in the network
// namespace that we are in.
func (r *reader) Listeners(ctx context.Context) ([]task.Listener, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var out []task.Listener
	for _, t := range []struct{ file, proto, state string }{
		{"tcp", "tcp", tcpListen}, {"tcp6", "tcp", tcpListen}, {"udp", "udp", udpOpen}, {"udp6", "udp", udpOpen},
	} {
		found, err := readSockets(r.m.sys("/proc/self/net/"+t.file), t.proto, t.state)
		if err != nil && !absent(err) { // a kernel without IPv6 has no tcp6
			return nil, fmt.Errorf("cannot list the sockets: %w", err)
		}
		out = append(out, found...)
	}
	slices.SortFunc(out, func(a, b task.Listener) int {
		if c := strings.Compare(a.Proto, b.Proto); c != 0 {
			return c
		}
		if a.Port != b.Port {
			return int(a.Port - b.Port)
		}
		return strings.Compare(a.Address, b.Address)
	})
	return slices.Compact(out), nil
}

func readSockets(file, proto, state string) (out []task.Listener, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	in := bufio.NewScanner(f)
	in.Scan() // the heading
	for in.Scan() {
		fields := strings.Fields(in.Text())
		if len(fields) < 4 || fields[3] != state {
			continue
		}
		if l, ok := parseSocket(fields[1]); ok {
			l.Proto = proto
			out = append(out, l)
		}
	}
	return out, in.Err()
}

// parseSocket reads an address as the kernel prints it: words of four bytes in the
// machine's own order, a colon, and the port.
func parseSocket(s string) (l task.Listener, ok bool) {
	host, port, _ := strings.Cut(s, ":")
	raw, err := hex.DecodeString(host)
	if err != nil || len(raw)%4 != 0 {
		return l, false
	}
	for i := 0; i < len(raw); i += 4 {
		binary.BigEndian.PutUint32(raw[i:], binary.NativeEndian.Uint32(raw[i:]))
	}
	addr, ok := netip.AddrFromSlice(raw)
	if !ok {
		return l, false
	}
	n, err := strconv.ParseUint(port, 16, 16)
	return task.Listener{Address: addr.Unmap().String(), Port: int64(n)}, err == nil
}
