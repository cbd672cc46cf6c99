package tasktest

import (
	"context"
	"time"

	"holdfast/tasks/task"
)

// Resolve implements [task.Reader]. Without OnResolve every name has the address
// 192.0.2.10, and records of other types hold what.example.
func (h *Host) Resolve(ctx context.Context, q task.Question) (task.Records, error) {
	h.mu.Lock()
	err := h.enter(ctx, Call{Method: "resolve", Subject: q.Name, Args: q})
	h.mu.Unlock()
	if err != nil {
		return task.Records{}, err
	}
	if h.OnResolve != nil {
		return h.OnResolve(q)
	}
	value := "what.example"
	if q.Type == "A" {
		value = "192.0.2.10"
	}
	return task.Records{Code: "NOERROR", Values: []string{value}, Server: "192.0.2.53:53"}, nil
}

// Certificates implements [task.Reader]. Without OnCertificates every source has one
// for all names of example.org that is good for 60 days.
func (h *Host) Certificates(ctx context.Context, s task.CertificateSource) (task.Chain, error) {
	subject := s.Address
	if s.File != "" {
		subject = s.File
	}
	h.mu.Lock()
	err := h.enter(ctx, Call{Method: "look at the certificates of", Subject: subject, Args: s})
	h.mu.Unlock()
	if err != nil {
		return task.Chain{}, err
	}
	if h.OnCertificates != nil {
		return h.OnCertificates(s)
	}
	return task.Chain{KeyMatches: s.Key != "", Certificates: []task.Certificate{{
		Subject: "CN=example.org", Issuer: "CN=Example CA", Names: []string{"example.org", "*.example.org"},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(60*24*time.Hour + time.Minute), SHA256: "ab", Key: "ECDSA P-256",
	}}}, nil
}
