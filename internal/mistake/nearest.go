package mistake

import "strings"

// Nearest returns the known word that is most like word, for "did you mean"
// hints, and false if none is near: more than a third of the letters, and more
// than one, would have to change. Case is not counted as a difference.
func Nearest(word string, known []string) (string, bool) {
	best, bestDistance := "", max(1, len(word)/3)+1
	for _, k := range known {
		if d := distance(strings.ToLower(word), strings.ToLower(k)); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best, best != ""
}

// distance is the restricted Damerau-Levenshtein distance: insertions,
// deletions, substitutions, and swaps of neighbours cost one each.
func distance(a, b string) int {
	var prev2 []int
	prev := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := range len(a) {
		cur := make([]int, len(b)+1)
		cur[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			cur[j+1] = min(prev[j+1]+1, cur[j]+1, prev[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				cur[j+1] = min(cur[j+1], prev2[j-1]+1)
			}
		}
		prev2, prev = prev, cur
	}
	return prev[len(b)]
}
