package dnsclient

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"holdfast/tasks/task"
)

const headSize = 12

// types are the numbers of record types (RFC 1035, RFC 3596, RFC 2782, RFC 8659).
var types = map[string]uint16{"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33, "CAA": 257}

var codes = []string{"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"}

var errMalformed = errors.New("the answer is malformed")

// question writes a message with one question, recursion desired, and says how much we
// take over UDP (RFC 6891).
func question(q task.Question) ([]byte, error) {
	kind, ok := types[q.Type]
	if !ok {
		return nil, fmt.Errorf("%q is no type that can be asked for", q.Type)
	}
	msg := []byte{0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1}
	name := strings.TrimSuffix(q.Name, ".")
	if name != "" {
		for _, label := range strings.Split(name, ".") {
			if label == "" || len(label) > 63 {
				return nil, fmt.Errorf("%q is no name: a part of it is empty or longer than 63 bytes", q.Name)
			}
			msg = append(append(msg, byte(len(label))), label...)
		}
	}
	if len(msg) > headSize+254 {
		return nil, fmt.Errorf("%q is no name: it is longer than 253 bytes", q.Name)
	}
	msg = append(msg, 0)
	msg = binary.BigEndian.AppendUint16(msg, kind)
	msg = append(msg, 0, 1)
	return append(msg, 0, 0, 41, maxUDP>>8, maxUDP&0xff, 0, 0, 0, 0, 0, 0), nil
}

// parse reads the answer to a message. cut says that it did not fit.
func parse(answer, asked []byte, want string) (out task.Records, cut bool, err error) {
	if len(answer) < headSize || answer[2]&0x80 == 0 || !slices.Equal(answer[:2], asked[:2]) {
		return out, false, errMalformed
	}
	cut = answer[2]&0x02 != 0
	if code := int(answer[3] & 15); code < len(codes) {
		out.Code = codes[code]
	} else {
		out.Code = "RCODE" + strconv.Itoa(code)
	}
	r := &records{msg: answer, at: headSize}
	questions, answers := binary.BigEndian.Uint16(answer[4:]), binary.BigEndian.Uint16(answer[6:])
	end := len(asked) - 11 // without our last record
	for range questions {
		start := r.at
		if _, err := r.name(); err != nil || r.at+4 > len(answer) {
			return out, cut, errMalformed
		}
		if r.at += 4; !bytes.EqualFold(answer[start:r.at], asked[headSize:end]) {
			return out, cut, errors.New("the answer is to another question")
		}
	}
	for range answers {
		value, kind, err := r.record()
		if err != nil && !cut {
			return out, cut, err
		}
		if err != nil {
			break
		}
		if kind == types[want] {
			out.Values = append(out.Values, value)
		}
	}
	slices.Sort(out.Values)
	return out, cut, nil
}

// records reads a message from one place on.
type records struct {
	msg []byte
	at  int
}

// name reads a name, which may go on at an earlier place (RFC 1035, section 4.1.4).
func (r *records) name() (string, error) {
	var labels []string
	at, jumps, size := r.at, 0, 0
	for {
		if at >= len(r.msg) {
			return "", errMalformed
		}
		n := int(r.msg[at])
		switch {
		case n == 0:
			if jumps == 0 {
				r.at = at + 1
			}
			return strings.ToLower(strings.Join(labels, ".")), nil
		case n&0xc0 == 0xc0 && at+1 < len(r.msg):
			to := n&0x3f<<8 | int(r.msg[at+1])
			if jumps == 0 {
				r.at = at + 2
			}
			if jumps++; to >= at || jumps > 64 {
				return "", errMalformed
			}
			at = to
		case n&0xc0 != 0 || at+1+n > len(r.msg) || size+n > 255:
			return "", errMalformed
		default:
			labels = append(labels, escaped(r.msg[at+1:at+1+n]))
			size += n + 1
			at += 1 + n
		}
	}
}

// escaped writes what is not usual in a name as \DDD.
func escaped(label []byte) string {
	var b strings.Builder
	for _, c := range label {
		if c <= ' ' || c >= 0x7f || c == '.' || c == '\\' || c == '"' {
			fmt.Fprintf(&b, `\%03d`, c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// record reads one record and returns its value as zone files have it.
func (r *records) record() (value string, kind uint16, err error) {
	if _, err = r.name(); err != nil || r.at+10 > len(r.msg) {
		return "", 0, errMalformed
	}
	kind = binary.BigEndian.Uint16(r.msg[r.at:])
	size := int(binary.BigEndian.Uint16(r.msg[r.at+8:]))
	r.at += 10
	end := r.at + size
	if end > len(r.msg) {
		return "", 0, errMalformed
	}
	value, err = (&records{msg: r.msg[:end], at: r.at}).value(kind)
	r.at = end
	return value, kind, err
}

func (r *records) value(kind uint16) (string, error) {
	rest := r.msg[r.at:]
	switch kind {
	case 1, 28:
		if a, ok := netip.AddrFromSlice(rest); ok && a.Is4() == (kind == 1) {
			return a.String(), nil
		}
		return "", errMalformed
	case 2, 5, 12:
		return r.name()
	case 15:
		return r.numbers(1)
	case 33:
		return r.numbers(3)
	case 16:
		return texts(rest)
	case 257:
		return caa(rest)
	case 6:
		return r.soa()
	}
	return "", nil // of a type that nobody asked for
}

// numbers reads n 16-bit numbers and a name.
func (r *records) numbers(n int) (string, error) {
	var out []string
	for range n {
		if r.at+2 > len(r.msg) {
			return "", errMalformed
		}
		out = append(out, strconv.Itoa(int(binary.BigEndian.Uint16(r.msg[r.at:]))))
		r.at += 2
	}
	name, err := r.name()
	return strings.Join(append(out, name), " "), err
}

func (r *records) soa() (string, error) {
	server, err := r.name()
	if err != nil {
		return "", err
	}
	mail, err := r.name()
	if err != nil || r.at+20 > len(r.msg) {
		return "", errMalformed
	}
	out := []string{server, mail}
	for i := range 5 {
		out = append(out, strconv.FormatUint(uint64(binary.BigEndian.Uint32(r.msg[r.at+4*i:])), 10))
	}
	return strings.Join(out, " "), nil
}

// texts joins the strings of a TXT record, which belong together (RFC 7208, section 3.3).
func texts(data []byte) (string, error) {
	var b strings.Builder
	for len(data) > 0 {
		n := int(data[0])
		if 1+n > len(data) {
			return "", errMalformed
		}
		b.Write(data[1 : 1+n])
		data = data[1+n:]
	}
	return strings.ToValidUTF8(b.String(), "\ufffd"), nil
}

func caa(data []byte) (string, error) {
	if len(data) < 2 || 2+int(data[1]) > len(data) {
		return "", errMalformed
	}
	tag, value := data[2:2+int(data[1])], data[2+int(data[1]):]
	return fmt.Sprintf("%d %s %q", data[0], escaped(tag), strings.ToValidUTF8(string(value), "\ufffd")), nil
}
