package signing

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"fmt"
)

// encryptionOverhead is the GCM nonce (12 bytes) and tag (16 bytes) around a ciphertext.
const encryptionOverhead = 12 + 16

// messageCipher returns AES-256-GCM under a key of this one signing: the header's nonce names it, so that a key never
// encrypts two payloads and random GCM nonces cannot collide. The cipher puts its own random nonce before the ciphertext,
// the only form in which FIPS 140-3 allows GCM with random nonces.
func (d *derivedKey) messageCipher(nonce *[nonceSize]byte) (cipher.AEAD, error) {
	var key [sha256.Size]byte
	d.encrypt.sum(&key, []byte(labelEncrypt), nonce[:])
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, fmt.Errorf("prepare the message key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("prepare the message key: %w", err)
	}
	return aead, nil
}

func (d *derivedKey) encryptPayload(nonce *[nonceSize]byte, context, plaintext []byte) ([]byte, error) {
	aead, err := d.messageCipher(nonce)
	if err != nil {
		return nil, err
	}
	dst := make([]byte, 0, len(plaintext)+encryptionOverhead)
	return aead.Seal(dst, nil, plaintext, context), nil //nolint:gosec // no nonce is given: the cipher draws its own
}

func (d *derivedKey) decryptPayload(nonce *[nonceSize]byte, context, payload []byte) ([]byte, error) {
	aead, err := d.messageCipher(nonce)
	if err != nil {
		return nil, err
	}
	plaintext, err := aead.Open(nil, nil, payload, context)
	if err != nil {
		return nil, fmt.Errorf("decrypt the payload: %w", err)
	}
	return plaintext, nil
}
