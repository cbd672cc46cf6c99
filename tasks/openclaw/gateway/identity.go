package gateway

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"holdfast/tasks/secret"
)

// pkcs8 is what stands before the 32 bytes of an Ed25519 key in PKCS #8 (RFC 8410).
const pkcs8 = "302e020100300506032b657004220420"

// Identity is the key pair of a device.
type Identity struct {
	ID     string // SHA-256 of the public key in hex
	Public string // the public key in base64url
	key    ed25519.PrivateKey
}

// NewIdentity reads a private key: 64 hex digits, as "holdfast secret generate --kind
// hex" makes them, or a PEM file with PKCS #8.
func NewIdentity(private secret.Text) (*Identity, error) {
	text := strings.TrimSpace(private.Reveal())
	seed, err := hex.DecodeString(text)
	if err != nil || len(seed) != ed25519.SeedSize {
		block, _ := pem.Decode([]byte(text + "\n"))
		if block == nil || len(block.Bytes) != len(pkcs8)/2+ed25519.SeedSize || hex.EncodeToString(block.Bytes[:len(pkcs8)/2]) != pkcs8 {
			return nil, errors.New("the device's key is no Ed25519 key: want 64 hex digits, or PKCS #8 as PEM")
		}
		seed = block.Bytes[len(pkcs8)/2:]
	}
	key := ed25519.NewKeyFromSeed(seed)
	public := key.Public().(ed25519.PublicKey)
	return &Identity{ID: fingerprint(public), Public: base64.RawURLEncoding.EncodeToString(public), key: key}, nil
}

// DeviceID is the name of the device with a public key, which is 32 bytes in base64url.
func DeviceID(public string) (string, error) {
	key, err := base64.RawURLEncoding.Strict().DecodeString(public)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return "", fmt.Errorf("%q is no public key of a device: want 43 characters of base64url", public)
	}
	return fingerprint(key), nil
}

func fingerprint(public []byte) string {
	sum := sha256.Sum256(public)
	return hex.EncodeToString(sum[:])
}

func (i *Identity) sign(text string) string {
	return base64.RawURLEncoding.EncodeToString(ed25519.Sign(i.key, []byte(text)))
}
