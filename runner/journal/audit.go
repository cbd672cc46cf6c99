package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

const ledgerFile = "ledger.jsonl"

// Audit is what a look through the whole ledger found. A chain of hashes shows that
// a line was changed, removed or put in. It cannot show that the end was cut off, or
// that root wrote everything anew; for that, keep Head somewhere else.
type Audit struct {
	Receipts int
	Head     string    // hash of the last receipt
	Last     time.Time // its time
	Line     int       // the first line that cannot be trusted; 0 is none
	Why      string
}

// Err returns the break of the chain as an error, or nil.
func (a Audit) Err() error {
	if a.Line == 0 {
		return nil
	}
	return fmt.Errorf("cannot trust the ledger from line %d on: %s", a.Line, a.Why)
}

// Audit reads the whole ledger, oldest first, and checks its chain. each may be nil;
// it gets what is behind a break too, as long as it can be read.
func (s *Store) Audit(each func(Receipt)) (a Audit, err error) {
	f, err := os.Open(s.path(ledgerFile))
	if errors.Is(err, fs.ErrNotExist) {
		return a, nil
	}
	if err != nil {
		return a, fmt.Errorf("cannot read the ledger: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	in := bufio.NewReaderSize(f, maxReceipt)
	for n := 1; ; n++ {
		text, long, err := readLine(in)
		if errors.Is(err, io.EOF) {
			return a, nil // a torn last line was never a receipt
		}
		if err != nil {
			return a, fmt.Errorf("cannot read the ledger: %w", err)
		}
		r, why := a.check(text, long)
		if why != "" && a.Line == 0 {
			a.Line, a.Why = n, why
		}
		if r == nil {
			continue
		}
		a.Receipts, a.Head, a.Last = a.Receipts+1, r.Hash, r.Time
		if each != nil {
			each(*r)
		}
	}
}

// readLine returns the next whole line without its end. One that is too long comes
// back empty.
func readLine(in *bufio.Reader) (text []byte, long bool, err error) {
	for {
		text, err = in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			long = true
		case err != nil:
			return nil, long, err
		case long:
			return nil, true, nil
		default:
			return bytes.TrimSuffix(text, []byte{'\n'}), false, nil
		}
	}
}

// check reads one line and says what is wrong with it, or "".
func (a *Audit) check(text []byte, long bool) (*Receipt, string) {
	if long {
		return nil, "it is too long for a receipt"
	}
	var r Receipt
	if json.Unmarshal(text, &r) != nil {
		return nil, "it is not a receipt"
	}
	want, got := digest(text)
	switch {
	case r.Form > LedgerForm:
		return &r, fmt.Sprintf("a newer holdfast wrote it (form %d)", r.Form)
	case want != got:
		return &r, "it was changed: its hash does not match its text"
	case r.Prev == a.Head:
		return &r, ""
	case a.Head == "":
		return &r, "the receipts before it are missing"
	}
	return &r, "it does not follow the line before it: lines were removed, put in or moved"
}
