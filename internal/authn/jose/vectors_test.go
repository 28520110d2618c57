package jose

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The Wycheproof files (C2SP/wycheproof), read from beside the project. How they map to this package:
//   - A group has "public" (one JWK or a set) or, for HMAC and JWE, "private" only. We are a verifier: "public" is used
//     where there is one, else "private", which ParseKeySet then has to refuse.
//   - Their payloads are mostly not JSON ("foo"), so a vector goes through parseSigned and Verify, which is everything
//     but the reading of claims. Every invalid one goes through Parse as well.
//   - valid vectors of HMAC and JWE are outside the allow-list: they must be refused. There is no "acceptable" in these
//     files; if one appears the test fails until somebody decides.
//   - A vector whose token is not a string is the JSON serialisation, which we do not read: it is sent as its text.
type vectorFile struct {
	TestGroups []struct {
		Comment string          `json:"comment"`
		Public  json.RawMessage `json:"public"`
		Private json.RawMessage `json:"private"`
		Tests   []struct {
			ID      int             `json:"tcId"`
			Comment string          `json:"comment"`
			JWS     json.RawMessage `json:"jws"`
			JWE     json.RawMessage `json:"jwe"`
			Result  string          `json:"result"`
		} `json:"tests"`
	} `json:"testGroups"`
}

func readVectors(t *testing.T, name string) vectorFile {
	t.Helper()
	path := filepath.Join("..", "..", "..", "..", "shared", "data", "jose", name)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("the Wycheproof vectors are not beside the project (../shared/data/jose/%s)", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	var f vectorFile
	if err := json.Unmarshal(data, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

func vectorKeys(t *testing.T, public, private json.RawMessage, dropAlg bool) []*Key {
	t.Helper()
	raw := public
	if raw == nil {
		raw = private
	}
	var probe map[string]json.RawMessage
	if err := json.Unmarshal(raw, &probe); err != nil {
		t.Fatal(err)
	}
	if dropAlg {
		delete(probe, "alg")
		raw, _ = json.Marshal(probe)
	}
	if _, isSet := probe["keys"]; !isSet {
		raw = json.RawMessage(`{"keys":[` + string(raw) + `]}`)
	}
	keys, _, err := ParseKeySet(raw)
	if err != nil {
		t.Fatal(err)
	}
	var out []*Key
	for i := range keys {
		out = append(out, &keys[i])
	}
	return out
}

// vectorToken returns the token and the alg of its header, where one can be read.
func vectorToken(jws, jwe json.RawMessage) (token, alg string) {
	raw := jws
	if raw == nil {
		raw = jwe
	}
	if json.Unmarshal(raw, &token) != nil {
		token = string(raw)
	}
	var header struct{ Alg string }
	if b, err := decodeBase64(nil, strings.Split(token, ".")[0]); err == nil {
		_ = json.Unmarshal(b, &header)
	}
	return token, header.Alg
}

// contradictory are vectors called valid in which the JWK's alg is not the token's: the key says PS256 and the token
// PS384, or the key says ES521, which no registry has, and the token ES512 (typing errors against RFC 7520). The same
// files call exactly such a pair invalid elsewhere (WrongPrimitive, mismatchedAlgAndCurve), and so do we. Without the
// JWK's alg member they must verify.
func contradictory(file string, id int) bool {
	if file != "json_web_signature_test.json" {
		return false
	}
	return id == 346 || id == 347 || id == 350 || id == 351
}

func TestSecurityWycheproofVectors(t *testing.T) {
	for _, file := range []string{"json_web_signature_test.json", "json_web_key_test.json", "json_web_crypto_test.json"} {
		t.Run(file, func(t *testing.T) { runVectors(t, file) })
	}
}

func runVectors(t *testing.T, file string) {
	var accepted, refused, outside, contradicted int
	for _, g := range readVectors(t, file).TestGroups {
		keys := vectorKeys(t, g.Public, g.Private, false)
		for _, v := range g.Tests {
			token, alg := vectorToken(v.JWS, v.JWE)
			verify := func(keys []*Key) error {
				parsed, err := parseSigned(token)
				if err == nil {
					_, err = VerifyAny(parsed, keys)
				}
				return err
			}
			err := verify(keys)
			_, known := lookupAlgorithm(alg)
			switch {
			case v.Result == "valid" && contradictory(file, v.ID):
				contradicted++
				if err == nil {
					t.Errorf("%s %d: accepted although the key's alg is not the token's", g.Comment, v.ID)
				}
				if err := verify(vectorKeys(t, g.Public, g.Private, true)); err != nil {
					t.Errorf("%s %d without the key's alg: %v", g.Comment, v.ID, err)
				}
			case v.Result == "valid" && known:
				accepted++
				if err != nil {
					t.Errorf("%s %d %s: refused: %v", g.Comment, v.ID, v.Comment, err)
				}
			case v.Result == "valid":
				outside++
				if err == nil {
					t.Errorf("%s %d %s: %s is not an allowed algorithm, and it was accepted", g.Comment, v.ID, v.Comment, alg)
				}
			case v.Result == "invalid":
				refused++
				if err == nil {
					t.Errorf("%s %d %s: invalid, and it was accepted", g.Comment, v.ID, v.Comment)
				}
				if parsed, err := Parse(token); err == nil {
					if _, err := VerifyAny(parsed, keys); err == nil {
						t.Errorf("%s %d %s: invalid, and Parse accepted it", g.Comment, v.ID, v.Comment)
					}
				}
			default:
				t.Errorf("%s %d: result %q: decide what it means here", g.Comment, v.ID, v.Result)
			}
		}
	}
	t.Logf("%d valid accepted, %d invalid refused, %d valid outside our algorithms refused, %d contradictory refused",
		accepted, refused, outside, contradicted)
	if accepted == 0 || refused == 0 {
		t.Error("no vector ran")
	}
}

// Each invalid signature must be refused by the signature or the key, not because something unrelated was in its way.
func TestWycheproofModifiedSignaturesReachTheVerifier(t *testing.T) {
	bad := 0
	for _, g := range readVectors(t, "json_web_signature_test.json").TestGroups {
		keys := vectorKeys(t, g.Public, g.Private, false)
		for _, v := range g.Tests {
			token, _ := vectorToken(v.JWS, v.JWE)
			parsed, err := parseSigned(token)
			if err != nil {
				continue
			}
			if _, err := VerifyAny(parsed, keys); errors.Is(err, &Error{Code: BadSignature}) {
				bad++
			}
		}
	}
	t.Logf("%d vectors were refused by the verifier itself", bad)
	if bad < 270 {
		t.Errorf("only %d vectors reached the verifier", bad)
	}
}

func TestSplitKeySetKeepsRawKeys(t *testing.T) {
	raw, err := splitKeySet([]byte(`{"x":1,"keys":[{"a":1},2]}`))
	if err != nil || len(raw) != 2 || !bytes.Equal(raw[1], []byte("2")) {
		t.Fatalf("%s, %v", raw, err)
	}
}
