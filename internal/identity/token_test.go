package identity

import (
	"crypto/sha256"
	"encoding/hex"
	"hash/crc32"
	"math/big"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var tokenRE = regexp.MustCompile(`^gt[pvasr]_[0-9A-Za-z]{49}$`)

func kinds() []TokenKind {
	return []TokenKind{TokenPersonal, TokenVirtualAccount, TokenAgent, TokenSCIM, TokenRefresh}
}

func TestTokensHaveTheDocumentedForm(t *testing.T) {
	seen := map[string]bool{}
	for _, kind := range kinds() {
		for range 200 {
			token := NewToken(kind)
			if !tokenRE.MatchString(token) {
				t.Fatalf("%q does not have the documented form", token)
			}
			if got, ok := ParseToken(token); !ok || got != kind {
				t.Fatalf("ParseToken(%q) = %v, %v; want %v", token, got, ok, kind)
			}
			if !LooksLikeOurs(token) {
				t.Fatalf("%q must look like ours", token)
			}
			if seen[token] {
				t.Fatalf("%q came twice", token)
			}
			seen[token] = true
		}
	}
}

// The documentation promises CRC-32 (IEEE) in base62, so that others can check
// a token without us.
func TestChecksumIsCRC32InBase62(t *testing.T) {
	token := NewToken(TokenPersonal)
	body, sum := token[:47], token[47:]
	n := new(big.Int)
	for _, c := range sum {
		n.Mul(n, big.NewInt(62)).Add(n, big.NewInt(int64(strings.IndexRune(base62, c))))
	}
	if want := crc32.ChecksumIEEE([]byte(body)); n.Uint64() != uint64(want) {
		t.Errorf("checksum %s is %d, want %d", sum, n, want)
	}
	// A fixed token keeps the format from drifting.
	fixed := "gtp_" + strings.Repeat("0", 43)
	if _, ok := ParseToken(fixed + checksum(fixed)); !ok {
		t.Error("zero-padded token refused")
	}
}

func TestSecurityOneWrongCharacterIsNoToken(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		token := []byte(NewToken(rapid.SampledFrom(kinds()).Draw(t, "kind")))
		i := rapid.IntRange(0, len(token)-1).Draw(t, "place")
		c := rapid.Byte().Draw(t, "byte")
		if token[i] == c {
			return
		}
		token[i] = c
		if _, ok := ParseToken(string(token)); ok {
			t.Fatalf("%q is accepted with a wrong character at %d", token, i)
		}
	})
}

func TestThingsThatAreNoTokens(t *testing.T) {
	good := NewToken(TokenPersonal)
	for _, s := range []string{"", "gtp_", good + "0", good[:52], " " + good, good + "\n", "gtx_" + good[4:], "GTP_" + good[4:], "gtp-" + good[4:], strings.Repeat("a", 53)} {
		if _, ok := ParseToken(s); ok {
			t.Errorf("%q is accepted", s)
		}
	}
	// A wrong token of ours still is not to be shown to anybody else.
	for _, s := range []string{"gtp_", "gtx_whatever", good[:20]} {
		if !LooksLikeOurs(s) {
			t.Errorf("%q must look like ours", s)
		}
	}
	for _, s := range []string{"", "gtp", "sk-abc", "a.b.c"} {
		if LooksLikeOurs(s) {
			t.Errorf("%q does not look like ours", s)
		}
	}
}

func TestSecurityRandomTokensUseAllTheirBits(t *testing.T) {
	// Each place must see many characters; a constant place would mean lost
	// randomness. The first is limited: 2^256 is less than 62^43.
	var seen [secretLen]map[byte]bool
	for i := range seen {
		seen[i] = map[byte]bool{}
	}
	for range 600 {
		token := NewToken(TokenPersonal)
		for i := range seen {
			seen[i][token[prefixLen+i]] = true
		}
	}
	for i := 1; i < secretLen; i++ {
		if len(seen[i]) < 50 {
			t.Errorf("place %d took %d characters of 62", i, len(seen[i]))
		}
	}
}

func TestDigest(t *testing.T) {
	sum := sha256.Sum256([]byte("x"))
	d := DigestOf("x")
	if want := "sha256:" + hex.EncodeToString(sum[:]); d.String() != want {
		t.Errorf("String = %s, want %s", d, want)
	}
	if got, ok := ParseDigest(d.String()); !ok || got != d {
		t.Errorf("ParseDigest = %v, %v", got, ok)
	}
	for _, s := range []string{"", "sha256:", d.String()[7:], d.String() + "00", "sha512:" + d.String()[7:], "sha256:" + strings.Repeat("g", 64)} {
		if _, ok := ParseDigest(s); ok {
			t.Errorf("%q is accepted", s)
		}
	}
}

func TestTokenKindNames(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range kinds() {
		if s := k.String(); s == "unknown" || seen[s] {
			t.Errorf("%c is named %q", k, s)
		} else {
			seen[s] = true
		}
	}
	if got := TokenKind('x').String(); got != "unknown" {
		t.Errorf("x is named %q", got)
	}
}

func BenchmarkParseToken(b *testing.B) {
	token := NewToken(TokenPersonal)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := ParseToken(token); !ok {
			b.Fatal("refused")
		}
	}
}
