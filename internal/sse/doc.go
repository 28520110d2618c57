// Package sse finds the events in a stream of Server-Sent Events, so that a
// relay can pass the bytes on as they came, flush after each event, and look
// into the events on the way (usage, tool calls) without re-encoding them.
//
// It owns: the framing of the WHATWG HTML standard, section 9.2 (line ends CR,
// LF and CRLF, the byte order mark, comments, the event and data fields), over
// any chunking of the bytes; and writing an event.
//
// It does not own: reading from or writing to connections and when to flush
// (gateway), what the data means (the dialects), ids and retry times, which a
// relay passes on unread.
//
// Called by: gateway/llm.
//
// A relay's loop over each chunk that it reads:
//
//	for len(chunk) > 0 {
//		event, n, err := splitter.Next(chunk)
//		write(chunk[:n])       // always: the bytes pass, whatever is in them
//		if event != nil {      // nil with ErrTooLong, too
//			data, name, ok := sse.Data(event)
//		}
//		chunk = chunk[n:]
//	}
//	flush()                    // what has been read is out; nothing waits for an event's end
package sse
