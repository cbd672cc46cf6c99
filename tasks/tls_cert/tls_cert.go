// Package tlscert looks at certificates.
package tlscert

import (
	"context"
	_ "embed"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"holdfast/tasks/task"
)

//go:embed doc.md
var doc string

// Params is what a playbook asks for.
type Params struct {
	File       *task.Path `yaml:"file" validate:"excludes=address" doc:"A file with the certificate, and those above it, in PEM form."`
	Address    *string    `yaml:"address" doc:"host:port of a server that speaks TLS."`
	ServerName *string    `yaml:"server_name" doc:"The name that is asked for; without it, the host in address."`
	Key        *task.Path `yaml:"key" validate:"requires=file" doc:"The file with the private key that must belong to it."`
	Names      []string   `yaml:"names" doc:"Names and addresses that it must be good for."`
	Days       int64      `yaml:"days" default:"14" validate:"min=0,max=3650" doc:"For how many days it must still be good."`
	Trusted    *bool      `yaml:"trusted" doc:"Whether the host must trust who signed it; yes for a server, no for a file."`
	Issuer     *string    `yaml:"issuer" doc:"A text that must be in the name of who signed it."`
}

// Result is what was seen.
type Result struct {
	Subject   string   `yaml:"subject" json:"subject" doc:"Whose it is."`
	Issuer    string   `yaml:"issuer" json:"issuer" doc:"Who signed it."`
	Names     []string `yaml:"names" json:"names" doc:"What it is good for."`
	NotBefore string   `yaml:"not_before" json:"not_before" doc:"From when on, in UTC."`
	NotAfter  string   `yaml:"not_after" json:"not_after" doc:"Until when, in UTC."`
	Days      int64    `yaml:"days" json:"days" doc:"For how many whole days it is still good."`
	SHA256    string   `yaml:"sha256" json:"sha256" doc:"Its fingerprint."`
	Key       string   `yaml:"key" json:"key" doc:"The kind of its key: ECDSA P-256."`
	Chain     []string `yaml:"chain" json:"chain" doc:"Whose the certificates above it are that come along."`
	Untrusted string   `yaml:"untrusted" json:"untrusted" doc:"Why the host does not trust it, empty when it does."`
}

// Module looks at certificates.
var Module = task.NewAction(task.ActionDef[Params, Result]{
	Name: "tls_cert", Doc: doc, ReadOnly: true, TLS: true,
	Validate: validate,
	Resource: func(p Params) string { return p.place() },
	Run:      run,
})

func (p *Params) place() string {
	if p.File != nil {
		return string(*p.File)
	}
	return *p.Address
}

func validate(p Params) error {
	if p.File == nil && p.Address == nil {
		return task.FieldErrorf("file", "say where the certificate is, with file or address")
	}
	if p.Address == nil {
		return nil
	}
	host, port, found := strings.Cut(*p.Address, ":")
	if i := strings.LastIndex(*p.Address, "]:"); i > 0 {
		host, port, found = (*p.Address)[:i+1], (*p.Address)[i+2:], true
	}
	if !found || host == "" || port == "" || strings.Trim(port, "0123456789") != "" {
		return task.FieldErrorf("address", "%q is no address: want host:port", *p.Address)
	}
	return nil
}

func run(ctx context.Context, w task.Writer, p Params) (Result, error) {
	s := task.CertificateSource{}
	if p.File != nil {
		s.File = string(*p.File)
	} else {
		s.Address = *p.Address
	}
	if p.ServerName != nil {
		s.Name = *p.ServerName
	}
	if p.Key != nil {
		s.Key = string(*p.Key)
	}
	chain, err := w.Certificates(ctx, s)
	if err != nil {
		return Result{}, err
	}
	if len(chain.Certificates) == 0 {
		return Result{}, fmt.Errorf("%s: there is no certificate", p.place())
	}
	c := chain.Certificates[0]
	r := Result{
		Subject: c.Subject, Issuer: c.Issuer, Names: c.Names, SHA256: c.SHA256, Key: c.Key, Untrusted: chain.Untrusted,
		NotBefore: c.NotBefore.UTC().Format(time.RFC3339), NotAfter: c.NotAfter.UTC().Format(time.RFC3339),
		Days: int64(time.Until(c.NotAfter) / (24 * time.Hour)),
	}
	for _, above := range chain.Certificates[1:] {
		r.Chain = append(r.Chain, above.Subject)
	}
	return r, judge(&p, &r, &c, &chain)
}

func judge(p *Params, r *Result, c *task.Certificate, chain *task.Chain) error {
	for _, name := range p.Names {
		if !covers(c.Names, name) {
			return fmt.Errorf("%s: the certificate is for %s, not for %s", p.place(), strings.Join(c.Names, ", "), name)
		}
	}
	trusted := p.File == nil
	if p.Trusted != nil {
		trusted = *p.Trusted
	}
	switch left := time.Until(c.NotAfter); {
	case time.Until(c.NotBefore) > 0:
		return fmt.Errorf("%s: the certificate is good from %s on only", p.place(), r.NotBefore)
	case left < 0:
		return fmt.Errorf("%s: the certificate has expired at %s", p.place(), r.NotAfter)
	case r.Days < p.Days:
		return fmt.Errorf("%s: the certificate is good for %d more days, until %s, want %d", p.place(), r.Days, r.NotAfter, p.Days)
	case p.Key != nil && !chain.KeyMatches:
		return fmt.Errorf("%s: the key in %s does not belong to the certificate", p.place(), *p.Key)
	case p.Issuer != nil && !strings.Contains(c.Issuer, *p.Issuer):
		return fmt.Errorf("%s: the certificate is signed by %s, want %q in it", p.place(), c.Issuer, *p.Issuer)
	case trusted && chain.Untrusted != "":
		return fmt.Errorf("%s: the host does not trust the certificate: %s", p.place(), chain.Untrusted)
	}
	return nil
}

// covers reports whether names include one, * standing for one part (RFC 6125, section 6.4.3).
func covers(names []string, want string) bool {
	want = strings.ToLower(strings.TrimSuffix(want, "."))
	addr, err := netip.ParseAddr(want)
	_, parent, _ := strings.Cut(want, ".")
	for _, name := range names {
		name = strings.ToLower(name)
		if other, oerr := netip.ParseAddr(name); err == nil && oerr == nil && other == addr {
			return true
		}
		if name == want || parent != "" && err != nil && name == "*."+parent {
			return true
		}
	}
	return false
}
