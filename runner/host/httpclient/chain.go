//go:build !notls

package httpclient

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net"

	"holdfast/tasks/task"
)

// Shown returns the certificates that a server shows, and why it would not be trusted.
func Shown(ctx context.Context, address, name string) (task.Chain, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return task.Chain{}, fmt.Errorf("cannot connect to %s: %w", address, err)
	}
	defer conn.Close() //nolint:errcheck // only read
	// Anything is accepted here, because what is wrong with it is the answer.
	c := tls.Client(conn, &tls.Config{ServerName: name, InsecureSkipVerify: true}) //nolint:gosec // see above
	if err := c.HandshakeContext(ctx); err != nil {
		return task.Chain{}, fmt.Errorf("cannot speak TLS with %s: %w", address, err)
	}
	return judged(c.ConnectionState().PeerCertificates, name), nil
}

// Filed returns the certificates in the text of a file. key may be nil.
func Filed(data, key []byte, name string) (task.Chain, error) {
	var certs []*x509.Certificate
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return task.Chain{}, fmt.Errorf("certificate %d is damaged: %w", len(certs)+1, err)
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return task.Chain{}, errors.New("it holds no certificate in PEM form")
	}
	out := judged(certs, name)
	if key != nil {
		_, err := tls.X509KeyPair(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certs[0].Raw}), key)
		out.KeyMatches = err == nil
	}
	return out, nil
}

func judged(certs []*x509.Certificate, name string) task.Chain {
	var out task.Chain
	others := x509.NewCertPool()
	for i, c := range certs {
		if i > 0 {
			others.AddCert(c)
		}
		sum := sha256.Sum256(c.Raw)
		one := task.Certificate{Subject: c.Subject.String(), Issuer: c.Issuer.String(), Names: c.DNSNames, NotBefore: c.NotBefore.UTC(),
			NotAfter: c.NotAfter.UTC(), SHA256: hex.EncodeToString(sum[:]), Key: keyName(c.PublicKey)}
		for _, ip := range c.IPAddresses {
			one.Names = append(one.Names, ip.String())
		}
		out.Certificates = append(out.Certificates, one)
	}
	if len(certs) == 0 {
		out.Untrusted = "there is no certificate"
	} else if _, err := certs[0].Verify(x509.VerifyOptions{DNSName: name, Intermediates: others}); err != nil {
		out.Untrusted = err.Error()
	}
	return out
}

func keyName(key any) string {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", k.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return "unknown"
}
