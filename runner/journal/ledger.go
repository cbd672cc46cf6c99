package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// LedgerForm is the form of the receipts that are written. Form 1, which has no
// number on the line, had one receipt for each task; form 2 has one for each resource
// that a task changed. In both, the hash is the SHA-256 of the line's text with
// nothing between the quotes of the hash, which ends the line.
const LedgerForm = 2

// Receipt is one line of the ledger: who changed which resource from what to what.
// Hash covers the receipt and the Hash of the one before it.
type Receipt struct {
	Form       int       `json:"form,omitempty"`
	Time       time.Time `json:"time"`
	Boot       float64   `json:"boot,omitempty"` // seconds since boot, which no clock change moves
	Run        string    `json:"run"`
	Playbook   string    `json:"playbook,omitempty"`
	Version    string    `json:"version,omitempty"`
	Controller string    `json:"controller,omitempty"`
	User       string    `json:"user,omitempty"`
	UndoOf     string    `json:"undo_of,omitempty"`
	Task       string    `json:"task,omitempty"`
	Resource   string    `json:"resource"`
	Did        string    `json:"did,omitempty"`
	Before     string    `json:"before,omitempty"` // fingerprints; an empty one is not known
	After      string    `json:"after,omitempty"`
	Entry      int       `json:"entry,omitempty"` // the last entry of the run's journal that is in it
	// Unfinished says that the change began and nobody knows how far it came.
	Unfinished bool   `json:"unfinished,omitempty"`
	Prev       string `json:"prev"`
	Hash       string `json:"hash"`
}

// hashKey stands before the hash, which stands last on the line.
const hashKey = `"hash":"`

// digest returns the hash that belongs to a line, and the one that is on it.
func digest(text []byte) (want, got string) {
	const end = len(`"}`) + 2*sha256.Size
	i := len(text) - end
	if i < len(hashKey) || string(text[i-len(hashKey):i]) != hashKey || !bytes.HasSuffix(text, []byte(`"}`)) {
		return "", "-"
	}
	h := sha256.New()
	h.Write(text[:i])
	h.Write([]byte(`"}`))
	return hex.EncodeToString(h.Sum(nil)), string(text[i : len(text)-2])
}

// seal completes a receipt that follows prev and returns its line.
func (r *Receipt) seal(prev string) ([]byte, error) {
	r.Form, r.Prev = LedgerForm, prev
	r.Hash = strings.Repeat("0", 2*sha256.Size)
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	if len(text)+1 >= maxReceipt {
		return nil, fmt.Errorf("a receipt of %d bytes is too long", len(text))
	}
	r.Hash, _ = digest(text)
	return append(append(text[:len(text)-len(r.Hash)-2], r.Hash...), "\"}\n"...), nil
}

// maxReceipt bounds one line of the ledger.
const maxReceipt = 64 << 10

// Receipt adds receipts to the ledger, all in one write. Form, Prev and Hash are set
// by it; a zero Time is now. They are on disk when Receipt returns.
func (s *Store) Receipt(list ...Receipt) error {
	if len(list) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.relieve(func() error { return s.addReceipts(list) }); err != nil {
		return fmt.Errorf("cannot write the ledger: %w", err)
	}
	return nil
}

func (s *Store) addReceipts(list []Receipt) error {
	f, err := os.OpenFile(s.path(ledgerFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return full(err)
	}
	defer f.Close() //nolint:errcheck // synced below; it also gives the lock back
	// A guard that takes a run back may write while the run does.
	if err := flock(f, syscall.LOCK_EX); err != nil {
		return err
	}
	last, end, err := lastReceipt(f)
	if err != nil {
		return err
	}
	var text []byte
	now, boot := time.Now().UTC(), uptime()
	for _, r := range list {
		if r.Time.IsZero() {
			r.Time, r.Boot = now, boot
		}
		line, err := r.seal(last.Hash)
		if err != nil {
			return err
		}
		text = append(text, line...)
		last = r
	}
	// What follows the last whole line was torn by a crash.
	err = f.Truncate(end)
	if err == nil {
		_, err = f.WriteAt(text, end)
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

// uptime returns the seconds since boot, or 0 where /proc does not tell.
func uptime() float64 {
	b, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return 0
	}
	text, _, _ := strings.Cut(string(b), " ")
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0
	}
	return n
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
