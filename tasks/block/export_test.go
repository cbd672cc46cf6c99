package block

// Edit is the whole effect of the module on a text; ok is false for arguments
// and files that it refuses.
func Edit(p Params, text string) (after string, ok bool) {
	if validate(p) != nil {
		return text, false
	}
	if _, _, err := find(p, lines(text)); err != nil {
		return text, false
	}
	return edited(p, text), true
}
