package settings

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/manifest"
)

// The keys of an entry that are not those of an IdentityProvider's spec.
const (
	keyID      = "id"
	keyURLs    = "jwt_public_key_urls"
	keyMapping = "claim_mapping"
	keyEmail   = "user_email"
)

// ReadOIDCConfig reads the JSON file of OIDC_CONFIG_FILE_PATH:
//
//	{"configs": [{"id": …, "jwt_public_key_urls": […], "claim_mapping": {"user_email": …}, …}]}
//
// Every other key of an entry is one of an IdentityProvider's spec (issuer,
// audiences, algorithms, …); claim_mapping takes spec.claims' keys besides. An
// error names the entry. A token's user is found by the e-mail address and must
// exist; that holds without an issuer too (trustUsers), as it was asked for.
func ReadOIDCConfig(file string) ([]*v1.IdentityProvider, []Notice, error) {
	data, err := readConfigFile(file)
	if err != nil {
		return nil, nil, &Error{Setting: envOIDCConfig, Message: err.Error()}
	}
	list, notices, err := parseOIDCConfig(data)
	if err != nil {
		return nil, nil, &Error{Setting: envOIDCConfig, Message: file + ": " + err.Error()}
	}
	return list, notices, nil
}

func parseOIDCConfig(data []byte) ([]*v1.IdentityProvider, []Notice, error) {
	if !json.Valid(data) {
		return nil, nil, errors.New("is not JSON")
	}
	// Read by the YAML library: unlike encoding/json it refuses a key that
	// stands twice and tells capitals from small letters.
	var doc map[string]any
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, nil, errors.New(firstLine(err.Error()))
	}
	entries, ok := doc["configs"].([]any)
	switch {
	case len(doc) > 1 || len(doc) == 1 && doc["configs"] == nil:
		return nil, nil, errors.New("must hold configs and nothing else")
	case !ok || len(entries) == 0:
		return nil, nil, errors.New("configs must list at least one identity provider")
	}
	var list []*v1.IdentityProvider
	var notices []Notice
	seen := map[string]int{}
	for i, raw := range entries {
		where := fmt.Sprintf("configs[%d]", i)
		entry, ok := raw.(map[string]any)
		if !ok {
			return nil, nil, fmt.Errorf("%s must be an object", where)
		}
		p, err := oidcEntry(entry)
		if err != nil {
			return nil, nil, fmt.Errorf("%s.%w", where, err)
		}
		if before, twice := seen[p.Name]; twice {
			return nil, nil, fmt.Errorf("%s.id: %q is the id of configs[%d] already", where, p.Name, before)
		}
		seen[p.Name] = i
		list = append(list, p)
		notices = append(notices, remarksOn(where, p)...)
	}
	return list, notices, nil
}

func remarksOn(where string, p *v1.IdentityProvider) []Notice {
	var list []Notice
	if p.Spec.Issuer == "" {
		list = append(list, Notice{Setting: envOIDCConfig, Message: where + " (" + p.Name + ") has no issuer: trust rests on the signature alone"})
	}
	if p.Spec.InsecureSkipAudience {
		list = append(list, Notice{Setting: envOIDCConfig, Message: where + " (" + p.Name + ") has no audiences: tokens made for any audience are accepted"})
	}
	return list
}

// oidcEntry turns an entry into a manifest, so that its keys are read as
// strictly as a manifest's.
func oidcEntry(entry map[string]any) (*v1.IdentityProvider, error) {
	id, _ := entry[keyID].(string)
	name := resourceName(id)
	urls, _ := entry[keyURLs].([]any)
	mapping, _ := entry[keyMapping].(map[string]any)
	email, _ := mapping[keyEmail].(string)
	switch {
	case name == "":
		return nil, errors.New("id: is required: a name that is unique in the file")
	case len(urls) == 0:
		return nil, errors.New("jwt_public_key_urls: is required: at least one URL of a key set")
	case email == "":
		return nil, errors.New("claim_mapping.user_email: is required: the claim that holds the e-mail address")
	case entry["claims"] != nil || entry["jwksURLs"] != nil || entry["jwks"] != nil || entry["config"] != nil:
		return nil, errors.New("claim_mapping: is what claims are called here, and jwt_public_key_urls the keys; use those")
	}
	claims := maps.Clone(mapping)
	delete(claims, keyEmail)
	claims["email"] = email
	spec := map[string]any{
		"trustUsers": true, "linkBy": v1.LinkByEmail, "emailDomains": []any{"*"},
		"emailVerified": v1.EmailVerifiedAssumed, "resolve": map[string]any{"users": v1.UsersExisting},
	}
	for k, v := range entry {
		if k != keyID && k != keyURLs && k != keyMapping {
			spec[k] = v
		}
	}
	spec["jwksURLs"], spec["claims"] = urls, claims
	if _, given := spec["audiences"]; !given {
		spec["insecureSkipAudience"] = true
	}
	body, err := json.Marshal(map[string]any{
		"apiVersion": v1.APIVersion, "kind": v1.KindIdentityProvider,
		"metadata": map[string]any{"name": name}, "spec": spec,
	})
	if err != nil {
		return nil, fmt.Errorf("id %q: %w", id, err)
	}
	r, err := manifest.DecodeJSON(v1.KindIdentityProvider, bytes.TrimSpace(body))
	if err != nil {
		return nil, entryError(err)
	}
	p, ok := r.(*v1.IdentityProvider)
	if !ok {
		return nil, fmt.Errorf("id %q: is not an identity provider", id)
	}
	return p, nil
}

// entryError gives the first thing that is wrong the name that it has in the file.
func entryError(err error) error {
	list, ok := errors.AsType[manifest.Errors](err)
	if !ok || len(list) == 0 {
		return err
	}
	path := strings.TrimPrefix(list[0].Path, "spec.")
	for _, r := range [][2]string{{"jwksURLs", keyURLs}, {"claims.email", keyMapping + "." + keyEmail}, {"claims", keyMapping}, {"metadata.name", keyID}} {
		if path == r[0] || strings.HasPrefix(path, r[0]+".") || strings.HasPrefix(path, r[0]+"[") {
			path = r[1] + strings.TrimPrefix(path, r[0])
			break
		}
	}
	return errors.New(path + ": " + list[0].Message)
}

// resourceName makes a resource's name of an id; empty where nothing is left.
func resourceName(id string) string {
	id = strings.ToLower(id)
	name := strings.Join(slices.DeleteFunc(strings.FieldsFunc(id, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	}), func(s string) bool { return s == "" }), "-")
	if len(name) > 63 {
		name = strings.Trim(name[:63], "-")
	}
	return name
}
