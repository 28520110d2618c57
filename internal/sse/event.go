package sse

// Data reads out the data and the name of one event, as Splitter gives it. ok
// is false if it has no data field: a keep-alive or a block without meaning,
// which a browser would not dispatch either. Several data fields are joined by
// LF. The name is empty if there is none (then it is "message"); the last one
// counts.
//
// Both are parts of event; only several data fields allocate.
func Data(event []byte) (data, name []byte, ok bool) {
	joined := false
	for len(event) > 0 {
		line, rest := cutLine(event)
		event = rest
		field, value := cutField(line)
		switch string(field) {
		case "event":
			name = value
		case "data":
			switch {
			case !ok:
				data, ok = value, true
			case !joined:
				both := make([]byte, 0, len(data)+len(value)+len(rest)+1)
				data = append(append(append(both, data...), '\n'), value...)
				joined = true
			default:
				data = append(append(data, '\n'), value...)
			}
		}
	}
	return data, name, ok
}

// cutLine takes the first line off b.
func cutLine(b []byte) (line, rest []byte) {
	k := lineEnd(b)
	if k < 0 {
		return b, nil
	}
	next := k + 1
	if b[k] == '\r' && next < len(b) && b[next] == '\n' {
		next++
	}
	return b[:k:k], b[next:]
}

// cutField splits a line at its first colon and takes one space off the value.
// A comment, which begins with the colon, has the empty field.
func cutField(line []byte) (field, value []byte) {
	for i, c := range line {
		if c == ':' {
			if value = line[i+1:]; len(value) > 0 && value[0] == ' ' {
				value = value[1:]
			}
			return line[:i], value
		}
	}
	return line, nil
}

// AppendEvent appends one event, with LF for line ends and the empty line that
// closes it. An empty name writes no event field. Data with line ends becomes
// several data fields, so that a reader gets each CR, LF and CRLF as LF. Line
// ends in a name are left out: they would let it write fields of its own.
func AppendEvent(dst []byte, name string, data []byte) []byte {
	if name != "" {
		dst = append(dst, "event: "...)
		for i := range len(name) {
			if c := name[i]; c != '\r' && c != '\n' {
				dst = append(dst, c)
			}
		}
		dst = append(dst, '\n')
	}
	for {
		k := lineEnd(data)
		dst = append(dst, "data: "...)
		if k < 0 {
			dst = append(dst, data...)
			return append(dst, '\n', '\n')
		}
		dst = append(dst, data[:k]...)
		dst = append(dst, '\n')
		_, data = cutLine(data)
	}
}
