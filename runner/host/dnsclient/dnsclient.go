// Package dnsclient asks single questions of the domain name system.
//
// The resolver of package net knows no SOA, CAA or response codes, does not say which
// server answered, and looks into /etc/hosts first: it is for programs that want to
// connect, not for those that want to know what a server says. This one sends one
// question (RFC 1035) to one server after another, over UDP and, where the answer is
// cut or when asked to, over TCP.
package dnsclient

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"holdfast/tasks/task"
)

const (
	wait    = 3 * time.Second // for one answer
	rounds  = 2               // over all servers
	maxUDP  = 4096
	dnsPort = "53"
)

// Ask asks a question. The error is for servers that do not answer; each answer, also
// that there is no such name, is one.
func Ask(ctx context.Context, q task.Question) (task.Records, error) {
	msg, err := question(q)
	if err != nil {
		return task.Records{}, err
	}
	servers, err := serversFor(q.Server)
	if err != nil {
		return task.Records{}, err
	}
	var last error
	for range rounds {
		for _, server := range servers {
			out, err := exchange(ctx, server, msg, q)
			if err == nil {
				out.Server = server
				return out, nil
			}
			last = fmt.Errorf("%s does not answer: %w", server, err)
			if ctx.Err() != nil {
				return task.Records{}, context.Cause(ctx)
			}
		}
	}
	return task.Records{}, last
}

// serversFor returns addresses with ports: the one that is named, or those of
// resolv.conf(5).
func serversFor(named string) ([]string, error) {
	if named != "" {
		s, err := withPort(named)
		return []string{s}, err
	}
	f, err := os.Open("/etc/resolv.conf")
	if err != nil {
		return []string{"127.0.0.1:" + dnsPort}, nil // as resolv.conf(5) says
	}
	defer f.Close() //nolint:errcheck // only read
	var out []string
	in := bufio.NewScanner(io.LimitReader(f, 64<<10))
	for in.Scan() {
		fields := strings.Fields(in.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if s, err := withPort(fields[1]); err == nil && len(out) < 3 {
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		out = []string{"127.0.0.1:" + dnsPort}
	}
	return out, in.Err()
}

func withPort(server string) (string, error) {
	if a, err := netip.ParseAddr(strings.Trim(server, "[]")); err == nil {
		return net.JoinHostPort(a.String(), dnsPort), nil
	}
	if a, err := netip.ParseAddrPort(server); err == nil {
		return a.String(), nil
	}
	return "", fmt.Errorf("%q is no server: want an address, or an address with a port", server)
}

func exchange(ctx context.Context, server string, msg []byte, q task.Question) (task.Records, error) {
	network := "udp"
	if q.TCP {
		network = "tcp"
	}
	for {
		answer, err := once(ctx, network, server, msg)
		if err != nil {
			return task.Records{}, err
		}
		out, cut, err := parse(answer, msg, q.Type)
		if err != nil || !cut || network == "tcp" {
			return out, err
		}
		network = "tcp"
	}
}

// once sends a message and returns the answer to it. Over UDP others can send too:
// what does not belong to the question is not heard.
func once(ctx context.Context, network, server string, msg []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // the answer is read by then
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	id := make([]byte, 2)
	_, _ = rand.Read(id) // never fails (crypto/rand)
	copy(msg, id)
	out := msg
	if network == "tcp" {
		out = append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
	}
	if _, err := conn.Write(out); err != nil {
		return nil, err
	}
	if network == "tcp" {
		return readTCP(conn)
	}
	buf := make([]byte, maxUDP)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			if ctx.Err() != nil {
				err = errors.New("no answer in time")
			}
			return nil, err
		}
		if n >= headSize && slices.Equal(buf[:2], id) {
			return buf[:n], nil
		}
	}
}

func readTCP(conn net.Conn) ([]byte, error) {
	size := make([]byte, 2)
	if _, err := io.ReadFull(conn, size); err != nil {
		return nil, err
	}
	buf := make([]byte, binary.BigEndian.Uint16(size))
	_, err := io.ReadFull(conn, buf)
	return buf, err
}
