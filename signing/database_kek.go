package signing

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// ErrNoKEK says that there is no file with a key-encryption key where one was expected.
var ErrNoKEK = errors.New("there is no key-encryption key")

// LoadKEK reads the key-encryption key of a ring in a database: the text form of a secret (see [ParseSecret]) in a file of its
// own. What is asked of a ring's file is asked of this one: mode 0600 or stricter, this user's or root's, reached through no link
// that leads out of its folder.
func LoadKEK(path string) (Secret, error) {
	f := NewFile(path)
	root, err := f.openFolder()
	if err != nil {
		return Secret{}, noKEK(path, err)
	}
	defer func() { _ = root.Close() }()
	file, err := f.open(root)
	if err != nil {
		return Secret{}, noKEK(path, err)
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, int64(secretTextSize)+3)) // one more than a secret and a line end
	if err != nil {
		return Secret{}, fmt.Errorf("read %s: %w", path, err)
	}
	kek, err := ParseSecret(strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"))
	if err != nil {
		return Secret{}, fmt.Errorf("%s holds no key-encryption key: %w; put back the file that the ring was made with", path, err)
	}
	return kek, nil
}

// noKEK keeps a missing file from being called a missing ring.
func noKEK(path string, err error) error {
	if errors.Is(err, ErrNoRing) {
		return fmt.Errorf("%s: %w; put back the file that the ring was made with, or correct the path", path, ErrNoKEK)
	}
	return fmt.Errorf("a key-encryption key is read like a key ring: %w", err)
}

// CreateKEK makes a key-encryption key in a new file of mode 0600. A file that is there is left alone: that is [fs.ErrExist].
func CreateKEK(path string) (_ Secret, err error) {
	f := NewFile(path)
	root, err := f.openFolder()
	if err != nil {
		return Secret{}, noKEK(path, err)
	}
	defer func() { _ = root.Close() }()
	file, err := root.OpenFile(f.base(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return Secret{}, fmt.Errorf("create %s: %w", path, err)
	}
	defer func() {
		if cerr := file.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("create %s: %w", path, cerr)
		}
		if err != nil {
			_ = root.Remove(f.base())
		}
	}()
	kek := NewSecret()
	if _, err := file.WriteString(kek.RevealText() + "\n"); err != nil {
		return Secret{}, fmt.Errorf("create %s: %w", path, err)
	}
	if err := file.Sync(); err != nil {
		return Secret{}, fmt.Errorf("create %s: %w", path, err)
	}
	return kek, f.syncFolder(root)
}
