package aptrepository

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // it is what the fingerprint of a version 4 key is made of
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
)

// dearmor returns the binary form of keys that may be armored (RFC 9580, section 6).
func dearmor(data []byte) ([]byte, error) {
	text := string(data)
	_, after, found := strings.Cut(text, "-----BEGIN PGP PUBLIC KEY BLOCK-----")
	if !found {
		if len(data) > 0 && data[0]&0x80 != 0 {
			return data, nil
		}
		return nil, errors.New("it is no OpenPGP key")
	}
	body, _, found := strings.Cut(after, "-----END PGP PUBLIC KEY BLOCK-----")
	if !found {
		return nil, errors.New("the key ends early: its last line is missing")
	}
	lines := strings.Split(strings.ReplaceAll(strings.TrimLeft(body, " \t\r"), "\r", ""), "\n")
	// Headers, if any, come before an empty line.
	if i := slices.IndexFunc(lines[1:], func(l string) bool { return strings.TrimSpace(l) == "" }); i >= 0 && (i == 0 || strings.Contains(lines[1], ": ")) {
		lines = lines[i+2:]
	}
	var b strings.Builder
	for _, line := range lines {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "=") {
			break // a checksum, which says nothing of who made the key
		}
		b.WriteString(line)
	}
	raw, err := base64.StdEncoding.DecodeString(b.String())
	if err != nil || len(raw) == 0 {
		return nil, errors.New("the key is damaged: its text is no base64")
	}
	return raw, nil
}

// fingerprints returns those of the primary keys, sorted.
func fingerprints(data []byte) ([]string, error) {
	var out []string
	for len(data) > 0 {
		tag, body, rest, err := packet(data)
		if err != nil {
			return nil, err
		}
		data = rest
		const publicKey = 6
		if tag != publicKey || len(body) == 0 {
			continue
		}
		print, err := fingerprint(body)
		if err != nil {
			return nil, err
		}
		out = append(out, print)
	}
	if len(out) == 0 {
		return nil, errors.New("it holds no public key")
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// fingerprint of a public key packet (RFC 9580, section 5.5.4).
func fingerprint(body []byte) (string, error) {
	switch body[0] {
	case 4:
		if len(body) > 0xffff {
			return "", errCut
		}
		h := sha1.New() //nolint:gosec // see the import
		h.Write(binary.BigEndian.AppendUint16([]byte{0x99}, uint16(len(body))))
		h.Write(body)
		return strings.ToUpper(hex.EncodeToString(h.Sum(nil))), nil
	case 6:
		sum := sha256.Sum256(append(binary.BigEndian.AppendUint32([]byte{0x9b}, uint32(len(body))), body...))
		return strings.ToUpper(hex.EncodeToString(sum[:])), nil
	}
	return "", errors.New("it holds a key of a version that apt does not trust either")
}

var errCut = errors.New("the key is damaged: a packet ends early")

// packet takes the first packet off (RFC 9580, section 4.2).
func packet(data []byte) (tag byte, body, rest []byte, err error) {
	head, data := data[0], data[1:]
	if head&0x80 == 0 || len(data) == 0 {
		return 0, nil, nil, errors.New("it is no OpenPGP key")
	}
	if head&0x40 != 0 {
		return newPacket(head&0x3f, data)
	}
	size := []int{1, 2, 4}
	kind := head & 3
	if kind == 3 || len(data) < size[kind] {
		return 0, nil, nil, errCut
	}
	var n uint64
	for _, b := range data[:size[kind]] {
		n = n<<8 | uint64(b)
	}
	return cut(head>>2&15, n, data[size[kind]:])
}

func newPacket(tag byte, data []byte) (byte, []byte, []byte, error) {
	switch first := data[0]; {
	case first < 192:
		return cut(tag, uint64(first), data[1:])
	case first < 224 && len(data) > 1:
		return cut(tag, uint64(first-192)<<8+uint64(data[1])+192, data[2:])
	case first == 255 && len(data) > 4:
		return cut(tag, uint64(binary.BigEndian.Uint32(data[1:])), data[5:])
	}
	return 0, nil, nil, errCut // keys are never of partial length
}

func cut(tag byte, n uint64, data []byte) (byte, []byte, []byte, error) {
	if n > uint64(len(data)) {
		return 0, nil, nil, errCut
	}
	return tag, bytes.Clone(data[:n]), data[n:], nil
}
