package secrets

// Fault is what is wrong with a secret, an identity or the store, with advice.
type Fault struct {
	Message string
	Hint    string // what to do about it, or empty
	cause   error
}

// Error returns the message.
func (f *Fault) Error() string { return f.Message }

// Advice returns the hint.
func (f *Fault) Advice() string { return f.Hint }

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.cause }
