package manifest

import "strings"

// suggest returns "; did you mean X?" for the word that is closest to a
// misspelt one, or nothing where none is close.
func suggest(word string, known []string) string {
	if len(word) > 64 {
		return ""
	}
	best, distance := "", 1+max(1, len(word)/3)
	for _, k := range known {
		d := editDistance(strings.ToLower(word), strings.ToLower(k))
		if d < distance {
			best, distance = k, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// editDistance counts the insertions, deletions, substitutions and swaps of
// neighbours between two words (optimal string alignment).
func editDistance(a, b string) int {
	prev2, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], prev2[j-2]+1)
			}
		}
		prev2, prev, row = prev, row, prev2
	}
	return prev[len(b)]
}
