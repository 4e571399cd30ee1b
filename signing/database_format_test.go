package signing_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
)

// unwrap opens a wrapped ring by the format's description alone, sharing no code with the package: 12 bytes of nonce, then
// AES-256-GCM under HKDF-SHA256(key-encryption key, info "sealq/v1/wrap"), additional data "sealq.v1.ring\0" and the version.
func unwrap(kek string, version uint64, wrapped []byte) ([]byte, error) {
	raw, err := base64.RawURLEncoding.DecodeString(kek[len("sealq1_"):])
	if err != nil {
		return nil, err
	}
	key, err := hkdf.Key(sha256.New, raw[:32], nil, "sealq/v1/wrap", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return gcm.Open(nil, wrapped[:12], wrapped[12:], binary.BigEndian.AppendUint64([]byte("sealq.v1.ring\x00"), version))
}
