package journal

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// Receipt is one line of the ledger: who changed which resource from what to what.
// Hash covers the receipt and the Hash of the one before it.
type Receipt struct {
	Time     time.Time `json:"time"`
	Boot     float64   `json:"boot,omitempty"` // seconds since boot, which no clock change moves
	Run      string    `json:"run"`
	Playbook string    `json:"playbook,omitempty"`
	Version  string    `json:"version,omitempty"`
	Task     string    `json:"task,omitempty"`
	Resource string    `json:"resource"`
	Before   string    `json:"before,omitempty"`
	After    string    `json:"after,omitempty"`
	Prev     string    `json:"prev"`
	Hash     string    `json:"hash"`
}

func (r Receipt) digest() (string, error) {
	r.Hash = ""
	b, err := json.Marshal(r)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

// maxReceipt bounds one line of the ledger.
const maxReceipt = 64 << 10

// Receipt adds r to the ledger. Prev and Hash are set by it; a zero Time is now.
func (s *Store) Receipt(r Receipt) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.addReceipt(r); err != nil {
		return fmt.Errorf("cannot write the ledger: %w", err)
	}
	return nil
}

func (s *Store) addReceipt(r Receipt) error {
	f, err := os.OpenFile(s.path("ledger.jsonl"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return full(err)
	}
	defer f.Close() //nolint:errcheck // synced below
	last, end, err := lastReceipt(f)
	if err != nil {
		return err
	}
	if r.Time.IsZero() {
		r.Time = time.Now().UTC()
	}
	r.Prev = last.Hash
	if r.Hash, err = r.digest(); err != nil {
		return err
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if len(b) >= maxReceipt {
		return fmt.Errorf("a receipt of %d bytes is too long", len(b))
	}
	// What follows the last whole line was torn by a crash.
	err = f.Truncate(end)
	if err == nil {
		_, err = f.WriteAt(append(b, '\n'), end)
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		_ = f.Truncate(end)
		return full(err)
	}
	return nil
}

// lastReceipt returns the last whole receipt and where it ends.
func lastReceipt(f *os.File) (last Receipt, end int64, err error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return last, 0, err
	}
	from := max(0, size-2*maxReceipt)
	b := make([]byte, size-from)
	if _, err := f.ReadAt(b, from); err != nil {
		return last, 0, err
	}
	for {
		b = b[:bytes.LastIndexByte(b, '\n')+1]
		if len(b) == 0 {
			return last, from, nil
		}
		text := b[bytes.LastIndexByte(b[:len(b)-1], '\n')+1:]
		if json.Unmarshal(text, &last) == nil {
			return last, from + int64(len(b)), nil
		}
		b = b[:len(b)-len(text)]
	}
}

// Receipts calls each for every receipt, oldest first, until it returns false.
func (s *Store) Receipts(each func(Receipt) bool) error {
	f, err := os.Open(s.path("ledger.jsonl"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read the ledger: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	in := bufio.NewReaderSize(f, maxReceipt)
	for n := 1; ; n++ {
		text, err := in.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return nil // a torn last line was never a receipt
		}
		var r Receipt
		if err == nil {
			err = json.Unmarshal(text, &r)
		}
		if err != nil {
			return fmt.Errorf("cannot read line %d of the ledger: %w", n, err)
		}
		if !each(r) {
			return nil
		}
	}
}

// VerifyLedger returns how many receipts there are, and an error that names the
// first one which was changed, removed or put in.
func (s *Store) VerifyLedger() (int, error) {
	n, prev := 0, ""
	var bad error
	err := s.Receipts(func(r Receipt) bool {
		sum, err := r.digest()
		if n++; err != nil || sum != r.Hash || r.Prev != prev {
			bad = fmt.Errorf("cannot trust the ledger from line %d on: its hash does not match", n)
			return false
		}
		prev = r.Hash
		return true
	})
	return n, errors.Join(err, bad)
}
