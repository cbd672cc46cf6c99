package tlscert_test

import (
	"strings"
	"testing"
	"time"

	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
	tlscert "holdfast/tasks/tls_cert"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, tlscert.Module) }

func TestRunJudges(t *testing.T) {
	day := 24 * time.Hour
	tests := []struct {
		args     string
		from, to time.Duration
		change   func(*task.Chain)
		want     string
	}{
		{"{file: /c, names: [a.example, x.b.example, '192.0.2.1']}", -day, 30 * day, nil, ""},
		{"{file: /c, names: [b.example]}", -day, 30 * day, nil, "not for b.example"},
		{"{file: /c, names: [x.y.b.example]}", -day, 30 * day, nil, "not for x.y.b.example"},
		{"{file: /c, names: ['192.0.2.2']}", -day, 30 * day, nil, "not for 192.0.2.2"},
		{"{file: /c}", -day, 10 * day, nil, "good for 9 more days"},
		{"{file: /c, days: 5}", -day, 10 * day, nil, ""},
		{"{file: /c, days: 0}", -day, -time.Hour, nil, "has expired at"},
		{"{file: /c}", day, 30 * day, nil, "is good from"},
		{"{file: /c, key: /k}", -day, 30 * day, nil, "the key in /k does not belong"},
		{"{file: /c, key: /k}", -day, 30 * day, func(c *task.Chain) { c.KeyMatches = true }, ""},
		{"{file: /c, issuer: Other}", -day, 30 * day, nil, "is signed by CN=CA, want"},
		{"{address: 'x:443'}", -day, 30 * day, func(c *task.Chain) { c.Untrusted = "why" }, "does not trust the certificate: why"},
		{"{address: 'x:443', trusted: false}", -day, 30 * day, func(c *task.Chain) { c.Untrusted = "why" }, ""},
		{"{file: /c, trusted: true}", -day, 30 * day, func(c *task.Chain) { c.Untrusted = "why" }, "does not trust"},
		{"{file: /c}", -day, 30 * day, func(c *task.Chain) { c.Certificates = nil }, "there is no certificate"},
	}
	for _, tt := range tests {
		h := tasktest.NewHost()
		h.OnCertificates = func(task.CertificateSource) (task.Chain, error) {
			c := task.Chain{Certificates: []task.Certificate{
				{Subject: "CN=a", Issuer: "CN=CA", Names: []string{"A.example", "*.b.example", "192.0.2.1"}, NotBefore: time.Now().Add(tt.from), NotAfter: time.Now().Add(tt.to)},
				{Subject: "CN=CA"},
			}}
			if tt.change != nil {
				tt.change(&c)
			}
			return c, nil
		}
		r, changed, err := tasktest.Run(t, h, tlscert.Module, tt.args)
		if changed || tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("tls_cert %s: got %v, want %q", tt.args, err, tt.want)
		}
		if got := r.(tlscert.Result); err == nil && (len(got.Chain) != 1 || got.Chain[0] != "CN=CA") {
			t.Errorf("tls_cert %s: got the chain %v", tt.args, got.Chain)
		}
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{}":                         "say where the certificate is",
		"{file: /c, address: 'x:1'}": "cannot be combined",
		"{address: x}":               "want host:port",
		"{address: 'x:y'}":           "want host:port",
		"{address: 'x:1', key: /k}":  `needs "file" too`,
		"{file: /c, days: -1}":       "less than 0",
	} {
		if got := tasktest.Fault(tlscert.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
