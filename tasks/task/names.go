package task

import "time"

// Question is one question to the domain name system.
type Question struct {
	Name   string // absolute, with or without the dot at its end
	Type   string // one of [RecordTypes]
	Server string // address or address:port; "" asks those of /etc/resolv.conf in turn
	TCP    bool   // not UDP
}

// RecordTypes are the kinds of records that can be asked for.
var RecordTypes = []string{"A", "AAAA", "CAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT"}

// Records are the answer to a question. Code is NOERROR, NXDOMAIN, SERVFAIL, REFUSED
// or another name of RFC 6895; Values are sorted, as zone files have them, with
// names in small letters and without the dot at their end.
type Records struct {
	Code   string
	Values []string
	Server string // who answered
}

// CertificateSource says where certificates are: in a file, or at a server.
type CertificateSource struct {
	File    string
	Address string // host:port of a server that speaks TLS
	Name    string // the name that is asked for; "" is the host in Address
	Key     string // a file with the private key that belongs to the first one
}

// Chain is the certificates of a source, the server's own first.
type Chain struct {
	Certificates []Certificate
	Untrusted    string // why the host would not trust the first one for Name; "" when it does
	KeyMatches   bool   // whether Key belongs to the first one
}

// Certificate is what people want to know of one.
type Certificate struct {
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	Names     []string  `json:"names"` // host names and addresses
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	SHA256    string    `json:"sha256"` // of all of it
	Key       string    `json:"key"`    // RSA 2048, ECDSA P-256, Ed25519
}
