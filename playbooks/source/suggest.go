package source

import (
	"fmt"
	"unicode/utf8"
)

// maxSuggest is the longest name, in bytes, for which a nearest one is looked for.
// It bounds the work when the name is a whole paragraph.
const maxSuggest = 100

// DidYouMean returns a hint that names the candidate nearest to name, or ""
// when none is within an edit distance of two (one for names under five letters).
func DidYouMean(name string, candidates []string) string {
	if len(name) > maxSuggest {
		return ""
	}
	best, bestDist := "", 3
	runes := utf8.RuneCountInString(name)
	if len(name) < 5 {
		bestDist = 2
	}
	for _, c := range candidates {
		// Each letter too many or too few costs one, so these cannot be near.
		if n := utf8.RuneCountInString(c) - runes; n > 2 || n < -2 {
			continue
		}
		if d := editDistance(name, c); d < bestDist || d == bestDist && best != "" && c < best {
			best, bestDist = c, d
		}
	}
	if best == "" || best == name {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", best)
}

// editDistance counts insertions, deletions, replacements and swaps of
// neighbours (optimal string alignment).
func editDistance(a, b string) int {
	ra, rb := []rune(a), []rune(b)
	rows := make([][]int, len(ra)+1)
	for i := range rows {
		rows[i] = make([]int, len(rb)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(ra); i++ {
		for j := 1; j <= len(rb); j++ {
			cost := 1
			if ra[i-1] == rb[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && ra[i-1] == rb[j-2] && ra[i-2] == rb[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(ra)][len(rb)]
}
