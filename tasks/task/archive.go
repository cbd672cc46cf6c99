package task

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"path"
	"strings"
)

// Download asks for a file from a server.
type Download struct {
	Path         string
	Request      Request // GET; MaxBody bounds the size
	Sum          Sum
	Tries        int64 // how often to begin or to go on; at least once
	Mode         *Mode // as in [FileWrite]
	Owner, Group string
}

// Unpack asks for a directory made from archives.
type Unpack struct {
	Dir          string // comes into being or is replaced; its parent must exist
	Parts        []Part
	Mode         Mode   // of Dir itself
	Owner, Group string // of all that is in it; "" is the account that the task runs as
	MaxSize      int64  // of all files together
	MaxFiles     int64
	// Add are files, and Links are symbolic links, that are put into the directory with
	// what was unpacked, by their names in it.
	Add   map[string][]byte
	Links map[string]string
}

// Part is one archive: a file on the host, or what a server sends.
type Part struct {
	Archive string
	Request *Request // instead of Archive; not for zip, which is read from its end
	Tries   int64
	Sum     Sum    // what it must be; "" takes a file as it is
	Format  string // one of [ArchiveFormats]
	Strip   int64  // how many folders at the beginning of each name are left out
	Into    string // a folder below Dir, or ""
}

// Pack asks for a gzipped tar archive.
type Pack struct {
	Path         string
	Base         string   // names in the archive are relative to this folder
	Names        []string // what is packed, relative to Base: files, and directories with all in them
	Exclude      []string // patterns of names, as path.Match has them; of the whole name when they hold a /
	Attributes   bool     // owners and times go in too
	MaxSize      int64    // of all files together
	Mode         *Mode    // as in [FileWrite]
	Owner, Group string
}

// ArchiveFormats are the kinds of archives that can be unpacked.
var ArchiveFormats = []string{"tar", "tar.gz", "tar.xz", "zip"}

// ArchiveFormat returns the kind of archive that a file name ends with, or "".
func ArchiveFormat(name string) string {
	name = strings.ToLower(name)
	for end, format := range map[string]string{".tgz": "tar.gz", ".txz": "tar.xz"} {
		if strings.HasSuffix(name, end) {
			return format
		}
	}
	for _, format := range ArchiveFormats {
		if strings.HasSuffix(name, "."+format) {
			return format
		}
	}
	return ""
}

// Sum is a checksum with its algorithm: sha256:HEX, or sha512:HEX. [ParseSum] makes one.
type Sum string

// ParseSum reads a checksum: sha256:HEX, sha512:HEX, HEX of either length, or the
// form of package registries, sha512-BASE64 (W3C Subresource Integrity).
func ParseSum(s string) (Sum, error) {
	sizes := map[string]int{"sha256": sha256.Size, "sha512": sha512.Size}
	name, text, found := strings.Cut(s, ":")
	var raw []byte
	var err error
	switch {
	case found:
		raw, err = hex.DecodeString(text)
	case strings.HasPrefix(s, "sha"):
		name, text, _ = strings.Cut(s, "-")
		raw, err = base64.StdEncoding.DecodeString(text)
	default:
		raw, err = hex.DecodeString(s)
		name = map[int]string{sha256.Size: "sha256", sha512.Size: "sha512"}[len(raw)]
	}
	if err != nil || sizes[name] == 0 || len(raw) != sizes[name] {
		return "", fmt.Errorf("%q is no checksum: want sha256:, 64 hex digits; sha512:, 128; or sha512-, base64", s)
	}
	return Sum(name + ":" + hex.EncodeToString(raw)), nil
}

// Hash returns what computes the checksum.
func (s Sum) Hash() hash.Hash {
	if strings.HasPrefix(string(s), "sha512:") {
		return sha512.New()
	}
	return sha256.New()
}

// Holds reports whether h, from Hash, has come to the checksum; got is what it came to.
func (s Sum) Holds(h hash.Hash) (got string, ok bool) {
	name, want, _ := strings.Cut(string(s), ":")
	got = hex.EncodeToString(h.Sum(nil))
	return name + ":" + got, got == want
}

// SHA256 returns the digest in hex when that is the algorithm, or "".
func (s Sum) SHA256() string {
	digest, ok := strings.CutPrefix(string(s), "sha256:")
	if !ok {
		return ""
	}
	return digest
}

// ReadMarker returns the line in a file of a directory that says what the directory
// came from, or "" when there is none.
func ReadMarker(ctx context.Context, r Reader, dir, name string) (string, error) {
	file := path.Join(dir, name)
	info, err := r.Stat(ctx, file)
	if err != nil || info.Kind != KindFile {
		return "", err
	}
	data, err := r.ReadFile(ctx, file, 64<<10)
	return strings.TrimSuffix(string(data), "\n"), err
}

// Brief shortens the checksums and digests in a text for people.
func Brief(text string) string {
	words := strings.Split(text, " ")
	for i, word := range words {
		name, digits, found := strings.Cut(word, ":")
		if !found {
			name, digits = "", word
		}
		if raw, err := hex.DecodeString(digits); err == nil && len(raw) >= sha256.Size {
			words[i] = strings.TrimPrefix(name+":"+digits[:12]+"…", ":")
		}
	}
	return strings.Join(words, " ")
}
