package secrets

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"slices"

	"holdfast/tasks/secret"
)

// KindEd25519 is a private key in PKCS #8, in PEM. Its public key is told.
const KindEd25519 = "ed25519"

// GenerateKinds lists what Generate makes.
func GenerateKinds() []string { return append(slices.Clone(secret.Kinds), KindEd25519) }

// Generate makes a random secret. public is what may be told of it, if anything.
func Generate(kind string, length int, alphabet string) (text secret.Text, public string, err error) {
	if kind != KindEd25519 {
		text, err = secret.Make(kind, length, alphabet)
		if err != nil {
			err = &Fault{Message: "cannot generate a secret: " + err.Error(), cause: err}
		}
		return text, "", err
	}
	if length != 0 || alphabet != "" {
		return text, "", &Fault{Message: "cannot generate a secret: a key has no length and no alphabet"}
	}
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return text, "", err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return text, "", err
	}
	open, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return text, "", err
	}
	text = secret.New(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	return text, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: open})), nil
}
