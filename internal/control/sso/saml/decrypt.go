package saml

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"io"

	_ "crypto/sha1" //nolint:gosec // as the mask of RSA-OAEP, where collisions do not matter
)

// maxWrappedKey bounds the RSA ciphertext: 8192 bits.
const maxWrappedKey = 1024

// undecryptable is the one answer to everything that goes wrong from the
// decryption to the signature inside, so that no one can be told from another
// (an oracle about the plaintext otherwise).
func undecryptable() error {
	return refuse(ReasonUndecryptable, "the assertion could not be decrypted with our key, or what is inside is not an assertion that is signed as required")
}

// decrypt returns the plaintext of an EncryptedAssertion. authenticated says
// that a signature over the ciphertext has been verified.
func (sp *ServiceProvider) decrypt(encrypted *node, authenticated bool) ([]byte, error) {
	if !sp.c.decrypts() {
		return nil, refuse(ReasonEncryption, "encryption is off here: turn it off at the identity provider")
	}
	data, err := encrypted.one(nsXenc, "EncryptedData")
	if err != nil {
		return nil, err
	}
	method, err := data.one(nsXenc, "EncryptionMethod")
	if err != nil {
		return nil, err
	}
	size, gcm, ok := blockCipher(method.attr("Algorithm"))
	if !ok {
		return nil, refuse(ReasonAlgorithm, "encryption algorithm %q is not accepted: use AES-256-GCM", method.attr("Algorithm"))
	}
	if !gcm && !authenticated {
		return nil, refuse(ReasonAlgorithm, "AES-CBC is accepted only inside a signed response: use AES-GCM, or sign the response too")
	}
	wrapped, options, err := wrappedKey(encrypted, data)
	if err != nil {
		return nil, err
	}
	ciphertext, err := cipherValue(data)
	if err != nil {
		return nil, err
	}
	key, err := sp.unwrap(wrapped, options, size)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, undecryptable()
	}
	if gcm {
		return openGCM(block, ciphertext)
	}
	return openCBC(block, ciphertext)
}

// blockCipher returns the key size in bytes of the ciphers of XML Encryption
// 1.1, 5.2, that are accepted.
func blockCipher(algorithm string) (size int, gcm, ok bool) {
	switch algorithm {
	case nsXenc11 + "aes128-gcm":
		return 16, true, true
	case nsXenc11 + "aes192-gcm":
		return 24, true, true
	case nsXenc11 + "aes256-gcm":
		return 32, true, true
	case nsXenc + "aes128-cbc":
		return 16, false, true
	case nsXenc + "aes192-cbc":
		return 24, false, true
	case nsXenc + "aes256-cbc":
		return 32, false, true
	default:
		return 0, false, false
	}
}

// wrappedKey finds the one EncryptedKey, which stands in the KeyInfo or beside
// the data (XML Encryption, 3.5; SAML core, 2.2.4).
func wrappedKey(encrypted, data *node) ([]byte, *rsa.OAEPOptions, error) {
	keys := encrypted.all(nsXenc, "EncryptedKey")
	info, err := data.optional(nsDsig, "KeyInfo")
	if err != nil {
		return nil, nil, err
	}
	if info != nil {
		keys = append(keys, info.all(nsXenc, "EncryptedKey")...)
	}
	if len(keys) != 1 {
		return nil, nil, refuse(ReasonMalformed, "an encrypted assertion must have one encrypted key, not %d", len(keys))
	}
	method, err := keys[0].one(nsXenc, "EncryptionMethod")
	if err != nil {
		return nil, nil, err
	}
	options, err := oaep(method)
	if err != nil {
		return nil, nil, err
	}
	value, err := cipherValue(keys[0])
	if err == nil && len(value) > maxWrappedKey {
		err = refuse(ReasonTooLarge, "the encrypted key has more than %d bytes", maxWrappedKey)
	}
	return value, options, err
}

// oaep reads the parameters of RSA-OAEP (XML Encryption 1.1, 5.5.2). RSA 1.5 is
// refused: its padding is the classic oracle.
func oaep(method *node) (*rsa.OAEPOptions, error) {
	options := &rsa.OAEPOptions{Hash: crypto.SHA1, MGFHash: crypto.SHA1}
	algorithm := method.attr("Algorithm")
	if algorithm != nsXenc+"rsa-oaep-mgf1p" && algorithm != nsXenc11+"rsa-oaep" {
		return nil, refuse(ReasonAlgorithm, "key encryption algorithm %q is not accepted: use RSA-OAEP", algorithm)
	}
	for _, c := range method.children {
		hash, ok := crypto.SHA1, true
		switch {
		case c.is(nsDsig, "DigestMethod"):
			if c.attr("Algorithm") != nsDsig+"sha1" {
				hash, ok = acceptedDigest(c.attr("Algorithm"))
			}
			options.Hash = hash
		case c.is(nsXenc11, "MGF") && algorithm == nsXenc11+"rsa-oaep":
			switch c.attr("Algorithm") {
			case nsXenc11 + "mgf1sha1":
			case nsXenc11 + "mgf1sha256":
				hash = crypto.SHA256
			case nsXenc11 + "mgf1sha384":
				hash = crypto.SHA384
			case nsXenc11 + "mgf1sha512":
				hash = crypto.SHA512
			default:
				ok = false
			}
			options.MGFHash = hash
		default:
			ok = false
		}
		if !ok {
			return nil, refuse(ReasonAlgorithm, "a parameter of RSA-OAEP is not accepted: %s %q", c.local, c.attr("Algorithm"))
		}
	}
	return options, nil
}

func cipherValue(n *node) ([]byte, error) {
	data, err := n.one(nsXenc, "CipherData")
	if err != nil {
		return nil, err
	}
	value, err := data.one(nsXenc, "CipherValue")
	if err != nil {
		return nil, err
	}
	raw, err := decodeBase64(value.text)
	if err != nil || len(value.children) > 0 {
		return nil, refuse(ReasonMalformed, "a cipher value is not base64")
	}
	return raw, nil
}

// unwrap returns the content key. A wrapped key that cannot be read gives a
// random one: the work that follows, and its failure, are then the same.
func (sp *ServiceProvider) unwrap(wrapped []byte, options *rsa.OAEPOptions, size int) ([]byte, error) {
	substitute := make([]byte, size)
	if _, err := io.ReadFull(rand.Reader, substitute); err != nil {
		return nil, undecryptable()
	}
	d, ok := sp.c.Key.(crypto.Decrypter)
	if !ok {
		return nil, undecryptable()
	}
	key, err := d.Decrypt(rand.Reader, wrapped, options)
	if err != nil || len(key) != size {
		return substitute, nil
	}
	return key, nil
}

// openGCM reads a nonce of 96 bits, the ciphertext and a tag of 128 (XML
// Encryption 1.1, 5.2.4).
func openGCM(block cipher.Block, ciphertext []byte) ([]byte, error) {
	aead, err := cipher.NewGCM(block)
	if err != nil || len(ciphertext) < aead.NonceSize()+aead.Overhead() {
		return nil, undecryptable()
	}
	plain, err := aead.Open(nil, ciphertext[:aead.NonceSize()], ciphertext[aead.NonceSize():], nil)
	if err != nil {
		return nil, undecryptable()
	}
	return plain, nil
}

// openCBC reads an initialization vector and blocks whose last byte says how
// many bytes are padding, whatever those hold (XML Encryption 1.1, 5.2).
func openCBC(block cipher.Block, ciphertext []byte) ([]byte, error) {
	size := block.BlockSize()
	if len(ciphertext) < 2*size || len(ciphertext)%size != 0 {
		return nil, undecryptable()
	}
	plain := make([]byte, len(ciphertext)-size)
	cipher.NewCBCDecrypter(block, ciphertext[:size]).CryptBlocks(plain, ciphertext[size:])
	padding := int(plain[len(plain)-1])
	if padding < 1 || padding > size {
		return nil, undecryptable()
	}
	return plain[:len(plain)-padding], nil
}
