package h1

import (
	"fmt"
	"net/http"
	"strconv"

	"golang.org/x/net/http/httpguts"
)

// appendRequest writes the request as it goes over the wire, body included,
// and closes the body. A request target, a field name or a value that could
// mean something else to the other end is an error, not a guess (RFC 9112
// sections 2.2 and 3, RFC 9110 section 5.5).
func appendRequest(b []byte, req *http.Request) ([]byte, error) {
	b, err := appendHeader(b, req)
	if err != nil {
		closeBody(req)
		return b, err
	}
	return readBody(b, req)
}

func appendHeader(b []byte, req *http.Request) ([]byte, error) {
	method := req.Method
	if method == "" {
		method = http.MethodGet
	}
	addr := req.Host
	if addr == "" {
		addr = req.URL.Host
	}
	target := req.URL.RequestURI()
	switch {
	case !httpguts.ValidHeaderFieldName(method):
		return b, fmt.Errorf("%q is not a method", method)
	case !httpguts.ValidHostHeader(addr):
		return b, fmt.Errorf("%q is not a host", addr)
	case !validTarget(target):
		return b, fmt.Errorf("%q is not a request target", target)
	}
	b = append(append(append(b, method...), ' '), target...)
	b = append(append(b, " HTTP/1.1\r\nHost: "...), addr...)
	b = append(b, "\r\n"...)
	for name, values := range req.Header {
		if framing(name) {
			continue
		}
		if !httpguts.ValidHeaderFieldName(name) {
			return b, fmt.Errorf("%q is not the name of a header field", name)
		}
		for _, v := range values {
			if !httpguts.ValidHeaderFieldValue(v) {
				return b, fmt.Errorf("the value of the header field %s holds a control character", name)
			}
			b = append(append(b, name...), ": "...)
			b = append(append(b, v...), "\r\n"...)
		}
	}
	if req.ContentLength > 0 || method != http.MethodGet && method != http.MethodDelete {
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, req.ContentLength, 10)
		b = append(b, "\r\n"...)
	}
	return append(b, "\r\n"...), nil
}

// framing are the fields that say where a message ends and whom it is for;
// they are this package's to write.
func framing(name string) bool {
	switch name {
	case "Host", "Content-Length", "Transfer-Encoding", "Trailer", "Te", "Keep-Alive", "Proxy-Connection":
		return true
	default:
		return false
	}
}

// validTarget: visible ASCII, and it begins with a slash.
func validTarget(s string) bool {
	if s == "" || s[0] != '/' {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}
