package load_test

import "testing"

// The digest changes with everything that a run would do differently, and with nothing
// else.
func TestDigest(t *testing.T) {
	other := "tasks: [{make: {name: o}}]\n"
	of := func(text, file, spare, use string) string {
		s := setup{text: text, files: map[string]string{"files/a.txt": file, "files/spare.txt": spare}, uses: map[string]string{"other": use}}
		return s.bound(t).Playbook.Digest()
	}
	const text = "tasks: [{make: {name: x, file: a.txt}}, {use: other}]\n"
	base := of(text, "a", "s", other)
	if len(base) != 64 || of(text, "a", "s", other) != base {
		t.Errorf("the digest is %q, then %q", base, of(text, "a", "s", other))
	}
	for name, got := range map[string]string{
		"the playbook":        of(text+"# more\n", "a", "s", other),
		"a file of it":        of(text, "b", "s", other),
		"a playbook it uses":  of(text, "a", "s", other+"# more\n"),
		"a file it names not": of(text, "a", "other", other),
	} {
		if same := got == base; same != (name == "a file it names not") {
			t.Errorf("%s changed: the digest is the same: %t", name, same)
		}
	}
}
