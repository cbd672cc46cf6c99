package journal

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// sealed marks the names of before-images that are encrypted.
const sealed = "sealed-"

// A sealed image is a salt and then pieces, each encrypted and authenticated with a
// key of the image's own, which is made of the host's key and the salt. The number of
// a piece, and whether it is the last one, are part of its nonce: pieces that are cut
// off, left out or moved are noticed. No image is held in memory as a whole.
const (
	saltSize  = 16
	pieceSize = 64 << 10
	tagSize   = 16 // that GCM adds
)

// errForged is what a piece that does not open says.
var errForged = errors.New("cannot decrypt a before-image: it was damaged")

// KeepSecret stores data encrypted under the host's own key. That keeps it out of
// backups and copies of the run's folder, not from root on the host.
func (j *Journal) KeepSecret(data []byte) (name string, err error) {
	err = j.store.relieve(func() error {
		name, err = j.KeepSecretFile(bytes.NewReader(data))
		return err
	})
	return name, err
}

// KeepSecretFile stores what r gives, like KeepSecret, without holding it in memory.
func (j *Journal) KeepSecretFile(r io.Reader) (name string, err error) {
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt) // never fails (crypto/rand)
	box, err := j.store.box(salt)
	if err != nil {
		return "", fmt.Errorf("cannot keep a before-image: %w", full(err))
	}
	return j.keep(sealed, func(w io.Writer) error {
		if _, err := w.Write(salt); err != nil {
			return err
		}
		return sealTo(w, r, box)
	})
}

// sealTo writes what r gives in sealed pieces. The last one is shorter than the
// others, or empty.
func sealTo(w io.Writer, r io.Reader, box cipher.AEAD) error {
	piece := make([]byte, pieceSize, pieceSize+tagSize)
	for i := uint64(0); ; i++ {
		n, err := io.ReadFull(r, piece[:pieceSize])
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return err
		}
		if _, err := w.Write(box.Seal(piece[:0], nonce(i, last), piece[:n], nil)); err != nil || last {
			return err
		}
	}
}

func nonce(i uint64, last bool) []byte {
	out := make([]byte, 12)
	binary.BigEndian.PutUint64(out[3:], i)
	if last {
		out[11] = 1
	}
	return out
}

// opened reads a sealed image. What it has returned is authentic; that nothing is
// missing at the end is known at the end.
type opened struct {
	in    *bufio.Reader
	file  io.Closer
	box   cipher.AEAD
	piece []byte
	left  []byte
	i     uint64
	ended bool
}

func (s *Store) unseal(file io.ReadCloser) (io.ReadCloser, error) {
	salt := make([]byte, saltSize)
	if _, err := io.ReadFull(file, salt); err != nil {
		return nil, errForged
	}
	box, err := s.box(salt)
	if err != nil {
		return nil, fmt.Errorf("cannot decrypt a before-image: %w", err)
	}
	return &opened{in: bufio.NewReaderSize(file, pieceSize+tagSize), file: file, box: box, piece: make([]byte, pieceSize+tagSize)}, nil
}

func (o *opened) Read(p []byte) (int, error) {
	for len(o.left) == 0 {
		if o.ended {
			return 0, io.EOF
		}
		if err := o.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, o.left)
	o.left = o.left[n:]
	return n, nil
}

func (o *opened) next() error {
	n, err := io.ReadFull(o.in, o.piece)
	o.ended = errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	if err != nil && !o.ended {
		return err
	}
	text, err := o.box.Open(o.piece[:0], nonce(o.i, o.ended), o.piece[:n], nil)
	if err != nil {
		return errForged
	}
	o.left = text
	o.i++
	return nil
}

// Close closes the file.
func (o *opened) Close() error { return o.file.Close() }

// key returns the host's own key, made when it is first needed.
func (s *Store) key() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key, err := os.ReadFile(s.path("key"))
	if errors.Is(err, fs.ErrNotExist) && !s.readOnly {
		key = make([]byte, 32)
		_, _ = rand.Read(key) // never fails (crypto/rand)
		err = s.relieve(func() error { return replace(s.path("key"), key) })
	}
	return key, err
}

// box returns the cipher of one image.
func (s *Store) box(salt []byte) (cipher.AEAD, error) {
	key, err := s.key()
	if err != nil {
		return nil, err
	}
	h := hmac.New(sha256.New, key)
	h.Write([]byte(sealed))
	h.Write(salt)
	block, err := aes.NewCipher(h.Sum(nil))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
