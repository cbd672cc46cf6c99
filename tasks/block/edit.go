package block

import (
	"errors"
	"regexp"
	"slices"
	"strings"
)

// find returns the lines of the block, marks included, as all[from:to]; from is
// negative when it is not there.
func find(p Params, all []string) (from, to int, err error) {
	begin, end := p.marks()
	from, to = -1, -1
	for i, l := range all {
		switch unpadded(l) {
		case begin:
			if from >= 0 {
				return -1, -1, errors.New("two lines say " + begin)
			}
			from = i
		case end:
			if from < 0 || to >= 0 {
				return -1, -1, errors.New("a line says " + end + " and no line before it " + begin)
			}
			to = i + 1
		}
	}
	if from >= 0 && to < 0 {
		return -1, -1, errors.New("a line says " + begin + " and no line after it " + end)
	}
	return from, to, nil
}

// unpadded returns a line as marks are compared.
func unpadded(l string) string { return strings.TrimRight(l, " \t\r") }

// edited returns the text with the block as it shall be. Broken marks leave it alone.
func edited(p Params, text string) string {
	all := lines(text)
	from, to, err := find(p, all)
	switch {
	case err != nil || from < 0 && p.State == "absent":
		return text
	case p.State == "absent":
		return joined(slices.Delete(all, from, to))
	}
	begin, end := p.marks()
	block := slices.Concat([]string{begin}, lines(*p.Text), []string{end})
	if from < 0 {
		return joined(slices.Insert(all, place(p, all), block...))
	}
	if slices.Equal(all[from:to], block) {
		return text
	}
	return joined(slices.Replace(all, from, to, block...))
}

// place returns where a new block goes. Validate has compiled the patterns before.
func place(p Params, all []string) int {
	switch {
	case p.Before != nil:
		if i := slices.IndexFunc(all, regexp.MustCompile(*p.Before).MatchString); i >= 0 {
			return i
		}
	case p.After != nil:
		re := regexp.MustCompile(*p.After)
		for i, l := range slices.Backward(all) {
			if re.MatchString(l) {
				return i + 1
			}
		}
	}
	return len(all)
}

func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// joined ends every line, also one that the file left open.
func joined(all []string) string {
	if len(all) == 0 {
		return ""
	}
	return strings.Join(all, "\n") + "\n"
}
