package inventory

import "encoding/binary"

// set holds small numbers, one bit each. The zero value is empty.
type set []uint64

func (s set) has(i int) bool { return i/64 < len(s) && s[i/64]&(1<<(i%64)) != 0 }

// with returns the set with i in it; the receiver is used up.
func (s set) with(i int) set {
	for i/64 >= len(s) {
		s = append(s, 0)
	}
	s[i/64] |= 1 << (i % 64)
	return s
}

// union returns the set with all of t in it; the receiver is used up.
func (s set) union(t set) set {
	for len(s) < len(t) {
		s = append(s, 0)
	}
	for i, bits := range t {
		s[i] |= bits
	}
	return s
}

// key returns a text that equal sets share: sets only grow up to their largest
// member, so none ends in empty words.
func (s set) key() string {
	b := make([]byte, 0, 8*len(s))
	for _, bits := range s {
		b = binary.BigEndian.AppendUint64(b, bits)
	}
	return string(b)
}
