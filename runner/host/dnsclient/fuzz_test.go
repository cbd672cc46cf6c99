package dnsclient

import "testing"

// FuzzParse wants no answer to break us, whatever it holds.
func FuzzParse(f *testing.F) {
	msg := []byte{0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 1, 'x', 0, 0, 1, 0, 1, 0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0}
	f.Add([]byte{0, 0, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0, 1, 'x', 0, 0, 1, 0, 1, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 1, 2, 3, 4})
	f.Add([]byte{0, 0, 0x81, 0x80, 0, 0, 0, 1, 0, 0, 0, 0, 0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60, 0, 2, 1, 'a'})
	f.Fuzz(func(t *testing.T, answer []byte) {
		for kind := range types {
			out, _, err := parse(answer, msg, kind)
			if err == nil && len(out.Values) > len(answer) {
				t.Errorf("%d values of %d bytes", len(out.Values), len(answer))
			}
		}
	})
}
