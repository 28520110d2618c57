package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gatehouse-ai/gatehouse/client"
)

const (
	defaultURL   = "http://127.0.0.1:8080"
	maxTokenFile = 64 << 10
)

// remote is a Gatehouse that the command line talks to.
type remote struct {
	p         process
	url       string
	tokenFile string
	// own is the caller's token where a command has it otherwise.
	own string
}

// addRemote gives a command the flags that say where the server is and who asks.
func addRemote(c *cobra.Command, p process) *remote {
	r := &remote{p: p}
	c.Flags().StringVar(&r.url, "url", "", "the server (GATEHOUSE_URL, default "+defaultURL+")")
	if c.Name() == "explain" { // there --token-file is the token to explain
		c.Flags().StringVar(&r.tokenFile, "as-token-file", "", "file with your own token (GATEHOUSE_TOKEN)")
	} else {
		c.Flags().StringVar(&r.tokenFile, "token-file", "", "file with your token, - for standard input (GATEHOUSE_TOKEN)")
	}
	return r
}

// connect returns a client of the server with the caller's token.
func (r *remote) connect() (*client.Client, error) {
	raw, form := r.url, "--url: "
	if raw == "" {
		raw, form = r.p.env("GATEHOUSE_URL"), "GATEHOUSE_URL: "
	}
	if raw == "" {
		raw = defaultURL
	}
	return r.at(raw, form)
}

// at returns a client of the server at a URL; form says where a wrong one was
// written.
func (r *remote) at(raw, form string) (*client.Client, error) {
	token, err := r.token()
	if err != nil {
		return nil, err
	}
	c, err := client.New(raw, client.Options{Token: token, UserAgent: "gatehouse/" + version()})
	if err != nil {
		return nil, usagef("%s%s", form, strings.TrimPrefix(err.Error(), "client: "))
	}
	return c, nil
}

// token returns the caller's token.
func (r *remote) token() (string, error) {
	if r.own != "" {
		return r.own, nil
	}
	if r.tokenFile == "" {
		if t := strings.TrimSpace(r.p.env("GATEHOUSE_TOKEN")); t != "" {
			return t, nil
		}
		return "", usagef("GATEHOUSE_TOKEN: is not set; set it to a token, or use --token-file")
	}
	return readToken(r.p, r.tokenFile)
}

// readToken reads a token from a file, or from standard input for "-".
func readToken(p process, name string) (string, error) {
	in := p.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return "", usagef("--token-file: %v", err)
		}
		defer f.Close() //nolint:errcheck // read only
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxTokenFile))
	if err != nil {
		return "", usagef("--token-file: %v", err)
	}
	token := strings.TrimSpace(string(b))
	if token == "" || strings.ContainsAny(token, " \t\r\n") {
		return "", usagef("--token-file: %s holds no token", name)
	}
	return token, nil
}

// explained returns what an error says to the user: a refusal of the server in
// one line, or a line for each thing that is wrong with a manifest.
func explained(err error) string {
	if e, ok := errors.AsType[*url.Error](err); ok {
		if u, bad := url.Parse(e.URL); bad == nil {
			return fmt.Sprintf("%s://%s cannot be reached: %v", u.Scheme, u.Host, e.Err)
		}
	}
	p, ok := errors.AsType[*client.Problem](err)
	if !ok {
		return strings.TrimSpace(err.Error())
	}
	var lines []string
	for _, one := range p.Errors {
		line := one.Message
		if one.Path != "" {
			line = one.Path + ": " + line
		}
		lines = append(lines, line)
	}
	if len(lines) > 0 {
		return strings.Join(lines, "\n")
	}
	text := fmt.Sprintf("%s (%d %s", p.Detail, p.Status, p.Code)
	if p.Permission != "" {
		text += ", needs " + p.Permission
	}
	if p.Status >= 500 && p.RequestID != "" {
		text += ", request " + p.RequestID
	}
	return text + ")"
}
