package manifest

import (
	"fmt"
	"strings"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

// Diff returns what a write would change, as a unified diff of the two
// resources in YAML, or "" where nothing would. old is nil for a resource that
// would be created, new for one that would be deleted. Metadata that Gatehouse
// sets is left out; secrets are redacted, and one that differs says so.
func Diff(old, new v1.Resource) string {
	a, nameA := diffLines(old)
	b, nameB := diffLines(new)
	if old != nil && new != nil {
		for i, line := range changedSecrets(old, new) {
			b = append(b[:i:i], append([]string{line}, b[i+1:]...)...)
		}
	}
	edits := compareLines(a, b)
	var out strings.Builder
	for _, h := range hunks(edits) {
		writeHunk(&out, edits, h)
	}
	if out.Len() == 0 {
		return ""
	}
	return "--- " + nameA + "\n+++ " + nameB + "\n" + out.String()
}

// diffLines returns a resource's YAML by line, without what Gatehouse sets.
func diffLines(r v1.Resource) (lines []string, name string) {
	if r == nil {
		return nil, "(absent)"
	}
	n, err := diffTree(r)
	if err != nil {
		return []string{"(cannot be shown)"}, string(r.Type().Kind) + "/" + r.Meta().Name
	}
	y := strings.TrimSuffix(string(writeYAML(n)), "\n")
	return strings.Split(y, "\n"), string(r.Type().Kind) + "/" + r.Meta().Name
}

func diffTree(r v1.Resource) (*node, error) {
	n, err := treeOf(r)
	if err != nil {
		return nil, err
	}
	if meta := n.find("metadata"); meta != nil {
		for i, m := range meta.members {
			switch m.key {
			case "uid", "resourceVersion", "generation", "creationTimestamp", "manager":
				meta.members[i].value = &node{}
			}
		}
	}
	return n, nil
}

// changedSecrets returns the lines of the new resource's YAML that show a
// secret in plain which differs from the old one: redacted, they look alike.
func changedSecrets(old, new v1.Resource) map[int]string {
	before := map[string]v1.Sensitive{}
	for _, s := range old.Secrets() {
		before[s.Path] = s.Value.Value
	}
	tree, err := diffTree(new)
	if err != nil {
		return nil
	}
	plain := strings.Split(string(writeYAML(tree)), "\n")
	for _, s := range new.Secrets() {
		was, found := before[s.Path]
		if !found || was == "" || s.Value.Value == "" || was.Reveal() == s.Value.Value.Reveal() {
			continue
		}
		n := tree
		for _, step := range append(splitPath(s.Path), "value") {
			if n = n.find(step); n == nil {
				break
			}
		}
		if n != nil {
			n.text = "[redacted, changed]"
		}
	}
	changed := map[int]string{}
	for i, line := range strings.Split(string(writeYAML(tree)), "\n") {
		if i < len(plain) && line != plain[i] {
			changed[i] = line
		}
	}
	return changed
}

// edit is one line of a diff: ' ' kept, '-' removed, '+' added.
type edit struct {
	op   byte
	line string
}

// maxCells bounds the work of comparing two texts; beyond it the changed part
// is shown as removed and added whole.
const maxCells = 4 << 20

// compareLines finds a longest common subsequence of what is left between the
// equal beginning and the equal end.
func compareLines(a, b []string) []edit {
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	var edits []edit
	for _, line := range a[:head] {
		edits = append(edits, edit{' ', line})
	}
	edits = appendChanged(edits, a[head:len(a)-tail], b[head:len(b)-tail])
	for _, line := range a[len(a)-tail:] {
		edits = append(edits, edit{' ', line})
	}
	return edits
}

func appendChanged(edits []edit, a, b []string) []edit {
	if len(a)*len(b) > maxCells {
		for _, line := range a {
			edits = append(edits, edit{'-', line})
		}
		for _, line := range b {
			edits = append(edits, edit{'+', line})
		}
		return edits
	}
	width := len(b) + 1
	common := make([]int32, (len(a)+1)*width) // common[i][j]: length for a[i:], b[j:]
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i*width+j] = common[(i+1)*width+j+1] + 1
			} else {
				common[i*width+j] = max(common[(i+1)*width+j], common[i*width+j+1])
			}
		}
	}
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			edits = append(edits, edit{' ', a[i]})
			i, j = i+1, j+1
		case i < len(a) && (j == len(b) || common[(i+1)*width+j] >= common[i*width+j+1]):
			edits = append(edits, edit{'-', a[i]})
			i++
		default:
			edits = append(edits, edit{'+', b[j]})
			j++
		}
	}
	return edits
}

const contextLines = 3

// hunks returns the ranges of edits to show: each change with three lines
// around it.
func hunks(edits []edit) [][2]int {
	var list [][2]int
	for i, e := range edits {
		if e.op == ' ' {
			continue
		}
		from, to := max(0, i-contextLines), min(len(edits), i+contextLines+1)
		if n := len(list); n > 0 && list[n-1][1] >= from {
			list[n-1][1] = to
			continue
		}
		list = append(list, [2]int{from, to})
	}
	return list
}

func writeHunk(out *strings.Builder, edits []edit, h [2]int) {
	oldStart, newStart := 1, 1
	for _, e := range edits[:h[0]] {
		if e.op != '+' {
			oldStart++
		}
		if e.op != '-' {
			newStart++
		}
	}
	oldLen, newLen := 0, 0
	for _, e := range edits[h[0]:h[1]] {
		if e.op != '+' {
			oldLen++
		}
		if e.op != '-' {
			newLen++
		}
	}
	if oldLen == 0 { // as diff -u has it: the line before an insertion
		oldStart--
	}
	if newLen == 0 {
		newStart--
	}
	fmt.Fprintf(out, "@@ -%d,%d +%d,%d @@\n", oldStart, oldLen, newStart, newLen)
	for _, e := range edits[h[0]:h[1]] {
		out.WriteByte(e.op)
		out.WriteString(e.line + "\n")
	}
}
