package saml

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"strings"
	"time"

	_ "crypto/sha512" // SHA-384 and SHA-512 of signatures

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
)

// acceptedSignature tells the signature algorithms that are accepted. ECDSA is
// not among them: the verifier reads its values as ASN.1, XML writes them raw.
func acceptedSignature(algorithm string) (crypto.Hash, bool) {
	switch algorithm {
	case dsig.RSASHA256SignatureMethod:
		return crypto.SHA256, true
	case dsig.RSASHA384SignatureMethod:
		return crypto.SHA384, true
	case dsig.RSASHA512SignatureMethod:
		return crypto.SHA512, true
	default:
		return 0, false
	}
}

func acceptedDigest(algorithm string) (crypto.Hash, bool) {
	switch algorithm {
	case "http://www.w3.org/2001/04/xmlenc#sha256":
		return crypto.SHA256, true
	case "http://www.w3.org/2001/04/xmldsig-more#sha384":
		return crypto.SHA384, true
	case "http://www.w3.org/2001/04/xmlenc#sha512":
		return crypto.SHA512, true
	default:
		return 0, false
	}
}

// signatureShape is what the one reference of a signature says.
type signatureShape struct {
	hash       crypto.Hash
	digest     []byte
	prefixList string
}

// checkSignaturePlaces refuses a document with a signature that is not a direct
// child of the root or of an assertion directly below it. A verifier that
// searches for "the signature of this ID" cannot be shown another one then.
func checkSignaturePlaces(root *node) error {
	owners := []*node{root}
	for _, c := range root.children {
		if c.is(nsAssertion, "Assertion") {
			owners = append(owners, c)
		}
	}
	placed := map[*node]bool{}
	for _, owner := range owners {
		own := owner.all(nsDsig, "Signature")
		if len(own) > 1 {
			return refuse(ReasonMalformed, "%s has two signatures", owner.local)
		}
		for _, s := range own {
			placed[s] = true
			if _, err := checkShape(owner, s); err != nil {
				return err
			}
		}
	}
	return root.walk(func(n *node) error {
		if n.local == "Signature" && !placed[n] {
			return refuse(ReasonMalformed, "a signature in a place where none belongs")
		}
		return nil
	})
}

// checkShape accepts one reference, to the owner, with the two transforms that
// SAML knows (core, 5.4), and strong algorithms.
func checkShape(owner, sig *node) (signatureShape, error) {
	var shape signatureShape
	info, err := onlyChildren(sig, []string{"SignedInfo", "SignatureValue"}, "KeyInfo")
	if err != nil {
		return shape, err
	}
	parts, err := onlyChildren(info, []string{"CanonicalizationMethod", "SignatureMethod", "Reference"}, "")
	if err != nil {
		return shape, err
	}
	if a := parts.attr("Algorithm"); a != dsig.CanonicalXML10ExclusiveAlgorithmId.String() || len(parts.children) > 0 {
		return shape, refuse(ReasonAlgorithm, "canonicalization %q is not accepted: use exclusive canonicalization", a)
	}
	method, ref := info.children[1], info.children[2]
	if _, ok := acceptedSignature(method.attr("Algorithm")); !ok || len(method.children) > 0 {
		return shape, refuse(ReasonAlgorithm, "signature algorithm %q is not accepted: use RSA with SHA-256", method.attr("Algorithm"))
	}
	id, uri := owner.attr("ID"), ref.attr("URI")
	if id == "" || uri != "#"+id {
		return shape, refuse(ReasonSignature, "the signature of %s refers to something else", owner.local)
	}
	transforms, err := onlyChildren(ref, []string{"Transforms", "DigestMethod", "DigestValue"}, "")
	if err != nil {
		return shape, err
	}
	if shape.prefixList, err = checkTransforms(transforms); err != nil {
		return shape, err
	}
	digest := ref.children[1]
	hash, ok := acceptedDigest(digest.attr("Algorithm"))
	if !ok || len(digest.children) > 0 {
		return shape, refuse(ReasonAlgorithm, "digest algorithm %q is not accepted: use SHA-256", digest.attr("Algorithm"))
	}
	shape.hash = hash
	if shape.digest, err = decodeBase64(ref.children[2].text); err != nil || len(shape.digest) != hash.Size() {
		return shape, refuse(ReasonMalformed, "the digest value is not base64 of the right length")
	}
	return shape, nil
}

// onlyChildren refuses unless n has exactly these children of the signature
// namespace in this order, and perhaps one more; it returns the first.
func onlyChildren(n *node, want []string, last string) (*node, error) {
	names := want
	if len(n.children) == len(want)+1 && last != "" {
		names = append(append([]string{}, want...), last)
	}
	ok := len(n.children) == len(names)
	for i := 0; ok && i < len(names); i++ {
		ok = n.children[i].is(nsDsig, names[i])
	}
	if !ok {
		return nil, refuse(ReasonMalformed, "%s must hold exactly %s", n.local, strings.Join(want, ", "))
	}
	return n.children[0], nil
}

func checkTransforms(n *node) (prefixList string, err error) {
	if len(n.children) != 2 || !n.children[0].is(nsDsig, "Transform") || !n.children[1].is(nsDsig, "Transform") {
		return "", refuse(ReasonAlgorithm, "exactly the transforms enveloped-signature and exclusive canonicalization are accepted")
	}
	enveloped, c14n := n.children[0], n.children[1]
	if enveloped.attr("Algorithm") != dsig.EnvelopedSignatureAltorithmId.String() || len(enveloped.children) > 0 ||
		c14n.attr("Algorithm") != dsig.CanonicalXML10ExclusiveAlgorithmId.String() || len(c14n.children) > 1 {
		return "", refuse(ReasonAlgorithm, "exactly the transforms enveloped-signature and exclusive canonicalization are accepted")
	}
	if len(c14n.children) == 1 {
		inclusive := c14n.children[0]
		if !inclusive.is(nsExcC14n, "InclusiveNamespaces") || len(inclusive.children) > 0 {
			return "", refuse(ReasonAlgorithm, "a parameter of canonicalization is not accepted")
		}
		prefixList = inclusive.attr("PrefixList")
	}
	return prefixList, nil
}

// verified checks the signature of an element that stands alone in its document
// and returns what was signed: the canonical bytes, parsed again, without the
// signature. n is the same element as el.
func (sp *ServiceProvider) verified(n *node, el *etree.Element) (*node, error) {
	sig, err := n.optional(nsDsig, "Signature")
	if err != nil {
		return nil, err
	}
	if sig == nil {
		return nil, refuse(ReasonUnsigned, "%s has no signature of its own", n.local)
	}
	shape, err := checkShape(n, sig)
	if err != nil {
		return nil, err
	}
	signed, err := sp.verify(el)
	if err != nil {
		return nil, err
	}
	// The verifier hands back a tree. Its canonical form must have the digest
	// that was signed: then these bytes, and no other, are what is read.
	canonical, err := dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList(shape.prefixList).Canonicalize(signed)
	if err != nil {
		return nil, refuse(ReasonSignature, "what was signed cannot be canonicalized")
	}
	h := shape.hash.New()
	h.Write(canonical)
	if !bytes.Equal(h.Sum(nil), shape.digest) {
		return nil, refuse(ReasonSignature, "what would be read is not what was signed")
	}
	out, err := parseMessage(canonical)
	if err != nil {
		return nil, err
	}
	if !out.is(n.space, n.local) || out.attr("ID") != n.attr("ID") {
		return nil, refuse(ReasonSignature, "the signature covers another element")
	}
	return out, nil
}

// verify tries the connection's certificates, and only these.
func (sp *ServiceProvider) verify(el *etree.Element) (*etree.Element, error) {
	now := sp.c.Now()
	current := 0
	for _, cert := range sp.certs {
		if !validAt(cert, now) {
			continue
		}
		current++
		ctx := dsig.NewDefaultValidationContext(&dsig.MemoryX509CertificateStore{Roots: []*x509.Certificate{cert}})
		ctx.Clock = dsig.NewFakeClockAt(now)
		if signed, err := ctx.Validate(withoutKeyInfo(el)); err == nil && signed != nil {
			return signed, nil
		}
	}
	if current == 0 {
		return nil, refuse(ReasonCertificate, "none of the identity provider's certificates is valid today")
	}
	return nil, refuse(ReasonSignature, "no certificate of the identity provider verifies the signature of %s", el.Tag)
}

func validAt(cert *x509.Certificate, now time.Time) bool {
	return !now.Before(cert.NotBefore) && !now.After(cert.NotAfter)
}

// withoutKeyInfo copies an element without what its own signature says about
// the key: the verifier would choose a certificate by it, and refuse one that
// it cannot read. White space goes from the value, which base64 readers of XML
// have to ignore.
func withoutKeyInfo(el *etree.Element) *etree.Element {
	el = el.Copy()
	for _, sig := range el.ChildElements() {
		if sig.Tag != "Signature" {
			continue
		}
		for _, c := range sig.ChildElements() {
			switch c.Tag {
			case "KeyInfo":
				sig.RemoveChild(c)
			case "SignatureValue":
				c.SetText(strings.Join(strings.Fields(c.Text()), ""))
			}
		}
	}
	return el
}

// standAlone copies an element and declares on it the namespaces that its
// ancestors declare, so that it means the same without them.
func standAlone(el *etree.Element) *etree.Element {
	out := el.Copy()
	for p := el.Parent(); p != nil; p = p.Parent() {
		for _, a := range p.Attr {
			if a.Space != "xmlns" && (a.Space != "" || a.Key != "xmlns") {
				continue
			}
			if out.SelectAttr(a.FullKey()) == nil {
				out.CreateAttr(a.FullKey(), a.Value)
			}
		}
	}
	return out
}

// parseTree is the tree that the verifier works on, of a document that
// parseMessage accepted.
func parseTree(data []byte) (*etree.Element, error) {
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(data); err != nil || doc.Root() == nil {
		return nil, refuse(ReasonMalformed, "not well-formed XML")
	}
	return doc.Root(), nil
}

// decodeBase64 reads base64 as XML Schema has it: white space does not count.
// Nothing that has two spellings is accepted.
func decodeBase64(s string) ([]byte, error) {
	return base64.StdEncoding.Strict().DecodeString(strings.Join(strings.Fields(s), ""))
}
