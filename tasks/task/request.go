package task

import (
	"encoding/base64"
	"net/url"
	"strings"

	"holdfast/tasks/secret"
)

// Header is a header of a request whose value is a secret.
type Header struct {
	Name   string     `yaml:"name" validate:"required" doc:"Its name."`
	Value  SecretText `yaml:"value" validate:"required" doc:"The secret."`
	Prefix string     `yaml:"prefix" default:"" doc:"What stands before the secret, such as \"Bearer \"."`
	User   *string    `yaml:"user" doc:"Logs in by this name, with the secret as the password (RFC 7617)."`
}

// text returns the whole value of the header.
func (h *Header) text() SecretText {
	switch {
	case h.User != nil:
		return secret.New("Basic " + base64.StdEncoding.EncodeToString([]byte(*h.User+":"+h.Value.Reveal())))
	case h.Prefix != "":
		return secret.New(h.Prefix + h.Value.Reveal())
	}
	return h.Value
}

// SecretHeaders returns headers as a [Request] takes them.
func SecretHeaders(list []Header) map[string]SecretText {
	out := map[string]SecretText{}
	for _, h := range list {
		out[h.Name] = h.text()
	}
	return out
}

// CheckHeaders is a rule for Validate functions: no header is given twice, and none
// has two ways to be made of its secret.
func CheckHeaders(plain map[string]string, secrets []Header) error {
	seen := map[string]bool{}
	for name := range plain {
		seen[strings.ToLower(name)] = true
	}
	for _, h := range secrets {
		if seen[strings.ToLower(h.Name)] {
			return FieldErrorf("secret_headers", "%s is given twice", h.Name)
		}
		seen[strings.ToLower(h.Name)] = true
		switch {
		case h.User != nil && h.Prefix != "":
			return FieldErrorf("secret_headers", "%s has a user, which has a prefix of its own", h.Name)
		case h.User != nil && strings.Contains(*h.User, ":"):
			return FieldErrorf("secret_headers", "%s: a user with a colon cannot be told from the password", h.Name)
		}
	}
	return nil
}

// CheckURL is a rule for Validate functions: a field holds an address to fetch from.
func CheckURL(field, text string) error {
	if !strings.HasPrefix(text, "http://") && !strings.HasPrefix(text, "https://") {
		return FieldErrorf(field, "%q is no URL: want http:// or https://", text)
	}
	if u, err := url.Parse(text); err != nil || u.Host == "" || u.User != nil {
		return FieldErrorf(field, "want http:// or https:// with a host, and without a user or password")
	}
	return nil
}

// CheckHostPort is a rule for Validate functions: a field holds what to connect to.
func CheckHostPort(field, text string) error {
	if u, err := url.Parse("tcp://" + text); err != nil || u.Host != text || u.Hostname() == "" || u.Port() == "" {
		return FieldErrorf(field, "%q is no address: want host:port, or [host]:port for IPv6", text)
	}
	return nil
}

// CheckProxy is a rule for Validate functions: a field holds env, none, or a proxy.
func CheckProxy(field, text string) error {
	if text == "none" || text == ProxyFromEnv {
		return nil
	}
	if u, err := url.Parse(text); err != nil || u.Scheme != "http" || u.Host == "" || u.User != nil {
		return FieldErrorf(field, "want env, none or http://host:port; a password belongs into the host's environment")
	}
	return nil
}

// ProxyOf returns what a checked field means in a [Request].
func ProxyOf(text string) string {
	if text == "none" {
		return ""
	}
	return text
}
