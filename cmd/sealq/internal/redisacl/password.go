package redisacl

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
)

// MinPassword is the shortest password in bytes. Redis keeps its plain SHA-256, and answers a hundred thousand guesses a
// second.
const MinPassword = 16

// ErrShortPassword refuses a password that could be guessed from its hash.
var ErrShortPassword = fmt.Errorf("the password has fewer than %d bytes", MinPassword)

// Hash is how Redis's rules name a password.
func Hash(password string) (string, error) {
	if len(password) < MinPassword {
		return "", ErrShortPassword
	}
	if strings.ContainsFunc(password, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", errors.New("the password contains a control character, such as a line end")
	}
	sum := sha256.Sum256([]byte(password))
	return hex.EncodeToString(sum[:]), nil
}

// HashFile hashes the password in a file, with at most one line end after it.
func HashFile(path string) (string, error) {
	text, err := os.ReadFile(path) //nolint:gosec // the path is the operator's
	if err != nil {
		return "", fmt.Errorf("read a password: %w", err)
	}
	return Hash(strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"))
}
