package llm

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/textproto"
	"strings"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// The limits of a form: they bound what is read to find one field.
const (
	maxParts      = 256
	maxPartHeader = 8 << 10
	maxModelField = 512
	formWindow    = 64 << 10
)

// PeekMultipart reads a form (RFC 7578) just far enough to find its model, and
// refuses one that two parsers could read differently: anything before the
// first boundary, a boundary that is not on a line of its own between CR LF,
// folded or repeated part headers, a second model, a model in another
// spelling, encoded, or given as a file. Errors: invalid_request,
// ambiguous_body, unsupported_media_type.
func PeekMultipart(body io.ReaderAt, size int64, contentType string) (Call, error) {
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil || kind != "multipart/form-data" {
		return Call{}, identity.Errorf(identity.CodeUnsupportedMediaType, "send multipart/form-data")
	}
	// What is sent is what was read: a reader that prefers boundary= to
	// boundary*= (RFC 2231), or knows other escapes, would see another form.
	boundary := params["boundary"]
	if strings.ContainsAny(contentType, `*\\`) || !validBoundary(boundary) {
		return Call{}, ambiguous("the form's boundary must have 1 to 70 letters, digits and ' ( ) + _ , - . / : = ? and be sent as boundary= alone")
	}
	f := form{body: body, size: size, delimiter: []byte("--" + boundary)}
	if err := f.read(); err != nil {
		return Call{}, err
	}
	if !f.hasModel {
		return Call{}, identity.Errorf(identity.CodeInvalidRequest, "model is required: write account/model")
	}
	f.call.form = true
	return f.call, nil
}

// validBoundary reports whether a boundary has the characters that RFC 2046
// section 5.1.1 gives it, without the space.
func validBoundary(s string) bool {
	return s != "" && len(s) <= 70 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && !strings.ContainsRune("'()+_,-./:=?", r)
	})
}

func ambiguous(message string) error {
	return identity.Errorf(identity.CodeAmbiguousBody, "%s", message)
}

type form struct {
	body      io.ReaderAt
	size      int64
	delimiter []byte
	window    []byte
	call      Call
	hasModel  bool
}

// read walks over the parts. A part's content is never kept.
func (f *form) read() error {
	at, err := f.find(0)
	if err != nil {
		return err
	}
	if at != 0 {
		return ambiguous("the form must begin with its boundary")
	}
	for range maxParts {
		after := at + int64(len(f.delimiter))
		var mark [4]byte
		n, _ := f.body.ReadAt(mark[:], after)
		switch {
		case n >= 2 && mark[0] == '\r' && mark[1] == '\n':
		case n >= 2 && mark[0] == '-' && mark[1] == '-' && (n == 2 || n == 4 && mark[2] == '\r' && mark[3] == '\n' && after+4 == f.size):
			return nil
		default:
			return ambiguous("a boundary of the form must stand on a line of its own, and nothing may follow the last one")
		}
		name, field, content, err := f.header(after + 2)
		if err != nil {
			return err
		}
		next, err := f.find(content)
		if err != nil {
			return err
		}
		var before [2]byte
		if next < content+2 {
			return ambiguous("a part of the form has no content")
		}
		if _, err := f.body.ReadAt(before[:], next-2); err != nil || before != [2]byte{'\r', '\n'} {
			return ambiguous("a boundary of the form must stand on a line of its own")
		}
		if err := f.part(name, field, content, next-2); err != nil {
			return err
		}
		at = next
	}
	return identity.Errorf(identity.CodeInvalidRequest, "the form has more than %d parts", maxParts)
}

// find returns where the delimiter next stands.
func (f *form) find(from int64) (int64, error) {
	if f.window == nil {
		f.window = make([]byte, formWindow)
	}
	keep := int64(len(f.delimiter) - 1)
	for from < f.size {
		n, err := f.body.ReadAt(f.window, from)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if i := bytes.Index(f.window[:n], f.delimiter); i >= 0 {
			return from + int64(i), nil
		}
		if int64(n) <= keep || from+int64(n) >= f.size {
			break
		}
		from += int64(n) - keep
	}
	return 0, identity.Errorf(identity.CodeInvalidRequest, "the form does not end with its boundary")
}

// header reads a part's header and returns the field's name, whether it is a
// plain field (no file name, no encoding), and where the content begins.
func (f *form) header(at int64) (name string, plain bool, content int64, err error) {
	buf := make([]byte, min(maxPartHeader, f.size-at))
	n, err := f.body.ReadAt(buf, at)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", false, 0, err
	}
	end := bytes.Index(buf[:n], []byte("\r\n\r\n"))
	if end < 0 {
		return "", false, 0, ambiguous("a part of the form has no header, or one that is too long")
	}
	plain = true
	seen := map[string]bool{}
	for line := range strings.SplitSeq(string(buf[:end]), "\r\n") {
		key, value, ok := strings.Cut(line, ":")
		if !ok || key == "" || strings.ContainsAny(line, "\r\n\x00") || strings.ContainsAny(key, " \t") {
			return "", false, 0, ambiguous("a part of the form has a header line that cannot be read in one way only")
		}
		key = textproto.CanonicalMIMEHeaderKey(key)
		if seen[key] {
			return "", false, 0, ambiguous("a part of the form has a header twice")
		}
		seen[key] = true
		if key != "Content-Disposition" {
			plain = plain && plainText(key, value)
			continue
		}
		var file bool
		if name, file, ok = disposition(value); !ok {
			return "", false, 0, ambiguous("a part of the form has a Content-Disposition that cannot be read in one way only")
		}
		plain = plain && !file
	}
	if !seen["Content-Disposition"] {
		return "", false, 0, ambiguous("a part of the form has no Content-Disposition")
	}
	return name, plain, at + int64(end) + 4, nil
}

// disposition reads form-data; name="…"; filename="…", in the one order and
// spelling that every client uses. Whatever else a parser may know (RFC 2231
// continuations, escapes, a second name) is refused.
func disposition(value string) (name string, file, ok bool) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(value), "form-data; name=")
	if !ok {
		return "", false, false
	}
	if quoted, is := strings.CutPrefix(rest, `"`); is {
		if name, rest, ok = strings.Cut(quoted, `"`); !ok {
			return "", false, false
		}
	} else if i := strings.IndexByte(rest, ';'); i >= 0 {
		name, rest = rest[:i], rest[i:]
	} else {
		name, rest = rest, ""
	}
	if rest != "" && !fileNames(rest) {
		return "", false, false
	}
	return name, rest != "", name != "" && !strings.ContainsAny(name, "\\\"\x00")
}

// fileNames reports whether the rest of a Content-Disposition is the file's
// name, and once more as RFC 5987 writes it, and nothing else.
func fileNames(rest string) bool {
	if value, ok := strings.CutPrefix(rest, "; filename="); ok {
		if quoted, is := strings.CutPrefix(value, `"`); is {
			if _, rest, ok = strings.Cut(quoted, `"`); !ok {
				return false
			}
		} else if i := strings.IndexByte(value, ';'); i >= 0 {
			rest = value[i:]
		} else {
			rest = ""
		}
	}
	value, ok := strings.CutPrefix(rest, "; filename*=")
	return rest == "" || ok && !strings.ContainsAny(value, "; \"")
}

// plainText reports whether a part's header leaves its content as it is.
func plainText(key, value string) bool {
	value = strings.ToLower(strings.ReplaceAll(strings.TrimSpace(value), " ", ""))
	switch key {
	case "Content-Type":
		return value == "text/plain" || value == "text/plain;charset=utf-8"
	case "Content-Transfer-Encoding":
		return value == "7bit" || value == "8bit" || value == "binary"
	default:
		return key == "Content-Length"
	}
}

// part takes down the fields that matter.
func (f *form) part(name string, plain bool, start, end int64) error {
	clean := strings.TrimSpace(name)
	isModel, isStream := strings.EqualFold(clean, "model"), strings.EqualFold(clean, "stream")
	if !isModel && !isStream {
		return nil
	}
	switch {
	case name != "model" && name != "stream":
		return ambiguous("a field of the form is spelled like model or stream, but not exactly so")
	case !plain:
		return ambiguous("the field " + name + " must be plain text without a file name or an encoding")
	case isModel && f.hasModel:
		return ambiguous("the form has the field model twice")
	case end-start > maxModelField:
		return identity.Errorf(identity.CodeInvalidRequest, "the field %s is too long", name)
	}
	value := make([]byte, end-start)
	if _, err := f.body.ReadAt(value, start); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if isStream {
		f.call.Stream = string(value) == "true"
		return nil
	}
	f.hasModel = true
	f.call.Model, f.call.Start, f.call.End = string(value), start, end
	return nil
}
