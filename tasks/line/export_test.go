package line

// Edit is the whole effect of the module on a text; ok is false for arguments
// that it refuses.
func Edit(p Params, text string) (after string, ok bool) {
	e, err := newEdit(p)
	if err != nil {
		return text, false
	}
	return e.apply(text), true
}
