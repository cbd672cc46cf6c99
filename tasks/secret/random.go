package secret

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strings"
)

// The kinds of secrets that [Make] makes.
const (
	KindToken    = "token"    // letters, digits, - and _: fits into URLs and headers
	KindPassword = "password" // letters and digits, easy to copy
	KindHex      = "hex"      // digits of hexadecimal numbers, in lower case
	KindBase64   = "base64"   // random bytes, length of them, in standard base64
)

// Kinds lists them.
var Kinds = []string{KindToken, KindPassword, KindHex, KindBase64}

const (
	lower  = "abcdefghijklmnopqrstuvwxyz"
	upper  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits = "0123456789"
)

// alphabets and lengths are what is taken when nothing else is asked for: at least
// 128 bits of randomness each.
var alphabets = map[string]string{KindToken: lower + upper + digits + "-_", KindPassword: lower + upper + digits, KindHex: digits + "abcdef", KindBase64: ""}
var lengths = map[string]int{KindToken: 43, KindPassword: 24, KindHex: 64, KindBase64: 32}

// Limits of what is made.
const (
	minBits   = 64
	maxLength = 4096
)

// Make makes a random secret of a kind. A length of 0 is that of the kind; alphabet,
// if any, replaces the characters of a token or a password.
func Make(kind string, length int, alphabet string) (Text, error) {
	chars, known := alphabets[kind]
	if alphabet != "" {
		chars = alphabet
	}
	if length == 0 {
		length = lengths[kind]
	}
	if err := ensureRandom(kind, known, length, chars, alphabet); err != nil {
		return Text{}, err
	}
	if kind == KindBase64 {
		b := make([]byte, length)
		_, _ = rand.Read(b) // never fails (crypto/rand)
		return New(base64.StdEncoding.EncodeToString(b)), nil
	}
	return New(pick(length, chars)), nil
}

// ensureRandom faults what could be guessed, and what cannot be made.
func ensureRandom(kind string, known bool, length int, chars, alphabet string) error {
	switch {
	case !known:
		return fmt.Errorf("%q is no kind of secret: want %s", kind, strings.Join(Kinds, ", "))
	case alphabet != "" && kind != KindToken && kind != KindPassword:
		return fmt.Errorf("a secret of the kind %s has an alphabet of its own", kind)
	case length < 1 || length > maxLength:
		return fmt.Errorf("the length %d is not between 1 and %d", length, maxLength)
	}
	per := 8.0
	if kind != KindBase64 {
		seen := map[rune]bool{}
		for _, c := range chars {
			if c < ' ' || c > '~' || seen[c] {
				return errors.New("an alphabet has printable ASCII characters, each once")
			}
			seen[c] = true
		}
		per = math.Log2(float64(len(seen)))
	}
	if bits := per * float64(length); bits < minBits {
		return fmt.Errorf("that can be guessed: it has %d bits of randomness, and %d are the least", int(bits), minBits)
	}
	return nil
}

// pick draws characters, each as likely as any other.
func pick(length int, chars string) string {
	out := make([]byte, 0, length)
	// Bytes beyond the last whole multiple would favour the first characters.
	limit := 256 - 256%len(chars)
	for buf := make([]byte, 2*length); ; {
		_, _ = rand.Read(buf) // never fails (crypto/rand)
		for _, b := range buf {
			if int(b) >= limit {
				continue
			}
			if out = append(out, chars[int(b)%len(chars)]); len(out) == length {
				return string(out)
			}
		}
	}
}
