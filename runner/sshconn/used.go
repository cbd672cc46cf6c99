package sshconn

import (
	"io"

	"golang.org/x/crypto/ssh"
)

// noting returns a key that notes when it signs. A server asks for a signature only of
// the key that it accepts, so the last one that signed is the one that logged in. What
// else a key can do decides which algorithms are offered, so it stays visible.
func noting(s ssh.Signer, note func()) ssh.Signer {
	switch s := s.(type) {
	case ssh.MultiAlgorithmSigner:
		return multiSigner{s, note}
	case ssh.AlgorithmSigner:
		return algorithmSigner{s, note}
	}
	return signer{s, note}
}

type signer struct {
	ssh.Signer
	note func()
}

func (s signer) Sign(rand io.Reader, data []byte) (*ssh.Signature, error) {
	s.note()
	return s.Signer.Sign(rand, data)
}

type algorithmSigner struct {
	ssh.AlgorithmSigner
	note func()
}

func (s algorithmSigner) Sign(rand io.Reader, data []byte) (*ssh.Signature, error) {
	s.note()
	return s.AlgorithmSigner.Sign(rand, data)
}

func (s algorithmSigner) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	s.note()
	return s.AlgorithmSigner.SignWithAlgorithm(rand, data, algorithm)
}

type multiSigner struct {
	ssh.MultiAlgorithmSigner
	note func()
}

func (s multiSigner) Sign(rand io.Reader, data []byte) (*ssh.Signature, error) {
	s.note()
	return s.MultiAlgorithmSigner.Sign(rand, data)
}

func (s multiSigner) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	s.note()
	return s.MultiAlgorithmSigner.SignWithAlgorithm(rand, data, algorithm)
}
