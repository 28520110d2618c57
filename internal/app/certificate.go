package app

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"
)

// certificate serves a key pair from two files and reads them again when they
// change. A pair that does not fit keeps the last one that did.
type certificate struct {
	certFile, keyFile string

	mu      sync.Mutex
	pair    *tls.Certificate
	stamp   string
	checked time.Time
}

// certificateCheck is how often the files are looked at, at most.
const certificateCheck = time.Second

func newCertificate(certFile, keyFile string) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile}
	if err := c.load(); err != nil {
		return nil, fmt.Errorf("server.tls.cert, server.tls.key: %w", err)
	}
	return c, nil
}

func (c *certificate) load() error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return err
	}
	c.pair, c.stamp = &pair, c.fileStamp()
	return nil
}

func (c *certificate) fileStamp() string {
	s := ""
	for _, f := range []string{c.certFile, c.keyFile} {
		if st, err := os.Stat(f); err == nil {
			s += fmt.Sprint(st.ModTime().UnixNano(), st.Size(), ";")
		}
	}
	return s
}

// get is tls.Config.GetCertificate.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.checked) > certificateCheck {
		c.checked = now
		if c.fileStamp() != c.stamp {
			_ = c.load() // the pair is being replaced: the old one goes on
		}
	}
	return c.pair, nil
}
