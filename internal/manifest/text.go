package manifest

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// checkText refuses what is not text before anything tries to read it. It
// returns the text without a byte order mark and with plain line ends.
func checkText(data []byte) (string, *Error) {
	start := position{1, 1}
	if len(data) > maxFile {
		e := start.errorf("the file is larger than 1 MiB")
		return "", &e
	}
	for _, bom := range []string{"\xff\xfe", "\xfe\xff", "\x00\x00\xfe\xff"} {
		if bytes.HasPrefix(data, []byte(bom)) {
			e := start.errorf("the file is UTF-16 or UTF-32; save it as UTF-8")
			return "", &e
		}
	}
	s := strings.TrimPrefix(string(data), "\ufeff")
	s = strings.ReplaceAll(s, "\r\n", "\n")
	s = strings.ReplaceAll(s, "\r", "\n")
	at := start
	for i, r := range s {
		var msg string
		switch {
		case r == utf8.RuneError && isBadByte(s[i:]):
			msg = "the file is not UTF-8"
		case r == 0:
			msg = "the file holds a NUL character"
		case r < 0x20 && r != '\t' && r != '\n', r >= 0x7f && r <= 0x9f && r != 0x85:
			msg = "the file holds a control character; write it as an escape in double quotes"
		case r == 0xfeff:
			msg = "the file holds a byte order mark where it does not begin"
		}
		if msg != "" {
			e := at.errorf("%s", msg)
			return "", &e
		}
		at.column++
		if r == '\n' {
			at = position{at.line + 1, 1}
		}
	}
	return s, nil
}

func isBadByte(s string) bool {
	_, size := utf8.DecodeRuneInString(s)
	return size == 1
}

// part is one document of a file; its first line is line first+1 of the file.
type part struct {
	text  string
	first int
}

// splitDocuments cuts a YAML file at its document markers. A line that begins
// with --- or ... is one wherever it stands (YAML 1.2.2, 9.1.2), so one
// document's mistake does not hide the others'.
func splitDocuments(s string) []part {
	var parts []part
	var b strings.Builder
	first := 0
	lines := strings.SplitAfter(s, "\n")
	for i, line := range lines {
		switch {
		case isMarker(line, "---"):
			parts = append(parts, part{b.String(), first})
			b.Reset()
			first = i
			b.WriteString("   " + line[3:]) // what follows the marker keeps its column
		case isMarker(line, "..."):
			parts = append(parts, part{b.String(), first})
			b.Reset()
			first = i
			b.WriteString("   " + line[3:])
		default:
			b.WriteString(line)
		}
	}
	return append(parts, part{b.String(), first})
}

func isMarker(line, marker string) bool {
	rest, ok := strings.CutPrefix(line, marker)
	return ok && (rest == "" || strings.ContainsRune(" \t\n", rune(rest[0])))
}

// findTab returns where a tab is used for indentation, which YAML 1.2.2 (6.1)
// forbids. Tabs within the text of a block scalar are the text's.
func findTab(s string) (position, bool) {
	parent, content := -1, -1 // of the block scalar that we are in; content 0: not known yet
	for i, line := range strings.Split(s, "\n") {
		spaces := len(line) - len(strings.TrimLeft(line, " "))
		body := strings.TrimLeft(line, " \t")
		if body == "" {
			continue
		}
		if content == 0 && spaces > parent {
			content = spaces
		}
		if content > 0 && spaces >= content {
			continue
		}
		content = -1
		if line[spaces] == '\t' && !strings.HasPrefix(body, "#") {
			return position{i + 1, spaces + 1}, true
		}
		if p, ok := opensBlockScalar(line); ok {
			parent, content = p, 0
		}
	}
	return position{}, false
}

// maxGap is the longest run of empty lines. Within a block scalar the library
// takes time that grows with its square.
const maxGap = 100

// findGap returns the line in which a run of empty lines becomes too long.
func findGap(s string) (line int, found bool) {
	run, last := 0, strings.Count(s, "\n")
	for l := range strings.SplitSeq(s, "\n") {
		line++
		if strings.Trim(l, " \t") != "" {
			run = 0
			continue
		}
		if run++; run > maxGap && line <= last {
			return line, true
		}
	}
	return 0, false
}

// opensBlockScalar reports whether a line ends in the header of a block scalar
// (| or >), and the indentation of what the scalar belongs to.
func opensBlockScalar(line string) (parent int, ok bool) {
	code, _, _ := strings.Cut(line, " #")
	code = strings.TrimRight(code, " \t")
	head := strings.TrimRight(code, "+-0123456789")
	if head == "" || (head[len(head)-1] != '|' && head[len(head)-1] != '>') || len(code)-len(head) > 2 {
		return 0, false
	}
	before := strings.TrimRight(head[:len(head)-1], " ")
	if len(before) == len(head)-1 || (!strings.HasSuffix(before, ":") && !strings.HasSuffix(before, "-")) {
		return 0, false
	}
	for strings.HasPrefix(line[parent:], " ") || strings.HasPrefix(line[parent:], "- ") {
		parent++
	}
	if strings.HasSuffix(before, "-") { // the scalar is the item itself
		parent = len(before) - 1
	}
	return parent, true
}
