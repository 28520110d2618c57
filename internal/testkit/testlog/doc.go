// Package testlog has the buffer that tests let a log be written to and look
// into while it still is.
//
// It owns nothing else. Only tests, and what tests are made of, import it.
package testlog
