package remote

import "strings"

// Denied is the error of a host where the helper could not become root.
type Denied struct {
	Message string
	hint    string
}

func (d *Denied) Error() string { return d.Message }

// Hint says what to try next, or nothing.
func (d *Denied) Hint() string { return d.hint }

const (
	hintPassword = "name the place of its password in the inventory: sudo: {password: env:NAME}"
	hintRule     = "log in as an account that may, or give this one a rule in sudoers"
	hintWrong    = "the inventory says where the password comes from, under sudo.password"
)

// denials are what sudo says, and what it means, the most telling first: sudo warns
// before it refuses. The texts are sudo's own, in C locale.
var denials = []struct{ text, message, hint string }{
	{"sudo: not found", "sudo is not installed and the account is not root", "log in as root, or install sudo"},
	{"sudo: command not found", "sudo is not installed and the account is not root", "log in as root, or install sudo"},
	{"is not in the sudoers file", "the account may not use sudo", hintRule},
	{"is not allowed to execute", "sudo does not let the account run a shell as root", hintRule},
	{"may not run sudo", "the account may not use sudo", hintRule},
	{"incorrect password attempt", "sudo refused the password", hintWrong},
	{"you must have a tty", "sudo wants a terminal (requiretty in sudoers)", "Defaults !requiretty in sudoers lifts that for the account"},
	{"a password is required", "sudo wants a password and none is configured", hintPassword},
	{"This account is currently not a", "the account is not allowed to log in", ""},
}

// denied finds out what sudo said, if anything.
func denied(text string) error {
	for _, d := range denials {
		if strings.Contains(text, d.text) {
			return &Denied{d.message, d.hint}
		}
	}
	return nil
}
