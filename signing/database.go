package signing

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrRingMoved says that somebody else has written the ring since it was read. Read it again.
var ErrRingMoved = errors.New("the key ring was written by somebody else in the meantime")

// ErrWrongKEK says that a ring in a database does not open: it was wrapped under another key-encryption key, or altered.
var ErrWrongKEK = errors.New("the key ring in the database does not open under this key-encryption key")

// Vault keeps one wrapped ring in a database. It cannot read it.
type Vault interface {
	// LoadWrappedRing returns what was saved last, or ErrNoRing.
	LoadWrappedRing(ctx context.Context) (version uint64, wrapped []byte, err error)
	// SaveWrappedRing saves version, if the saved one is the version before it (for version 1: if there is none).
	// Otherwise it saves nothing and returns ErrRingMoved.
	SaveWrappedRing(ctx context.Context, version uint64, wrapped []byte) error
}

// Database is a key ring in a database, wrapped as a whole under a key-encryption key that the database does not have. So
// whoever can write to the database can neither read a secret, nor add a key, nor bring a single one back. He can put back a
// whole older ring, under the version that it was saved under; whoever has seen a newer one refuses it ([ErrOlderRing]).
type Database struct {
	vault Vault
	aead  cipher.AEAD
}

const (
	infoWrap  = "sealq/v1/wrap"     // derives the wrapping key: the key-encryption key itself is never a cipher key
	labelRing = "sealq.v1.ring\x00" // begins the additional data
)

// NewDatabase opens the ring that vault keeps. A key-encryption key has the text form of a key's secret; see [ParseSecret].
func NewDatabase(vault Vault, kek Secret) (*Database, error) {
	if kek.IsZero() {
		return nil, fmt.Errorf("open the database's key ring: %w: the key-encryption key is empty", ErrInvalidSecret)
	}
	wrapping, err := hkdf.Key(sha256.New, kek.bytes()[:], nil, infoWrap, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("derive the wrapping key: %w", err)
	}
	block, err := aes.NewCipher(wrapping)
	if err != nil {
		return nil, fmt.Errorf("prepare the wrapping key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block) // puts its own nonce before the ciphertext
	if err != nil {
		return nil, fmt.Errorf("prepare the wrapping key: %w", err)
	}
	return &Database{vault: vault, aead: aead}, nil
}

// String names the source.
func (*Database) String() string { return "database" }

// Load implements [Source].
func (d *Database) Load(ctx context.Context) (*Ring, error) {
	version, wrapped, err := d.vault.LoadWrappedRing(ctx)
	if errors.Is(err, ErrNoRing) {
		return nil, fmt.Errorf("read the database's key ring: %w; make one with `sealq keys init`", ErrNoRing)
	}
	if err != nil {
		return nil, fmt.Errorf("read the database's key ring: %w", err)
	}
	text, err := d.aead.Open(nil, nil, wrapped, wrapContext(version))
	if err != nil {
		return nil, fmt.Errorf("%w; give the file that it was made with", ErrWrongKEK)
	}
	r, err := ParseRing(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d, err)
	}
	if r.version != version {
		return nil, fmt.Errorf("%s: %w", d, &RingError{Problem: "its version is not the one that it is saved under; restore the last good ring"})
	}
	return r, nil
}

// Create saves a ring where none is: [ErrRingExists] otherwise.
func (d *Database) Create(ctx context.Context, r *Ring) error {
	if err := r.check(); err != nil {
		return fmt.Errorf("create the database's key ring: %w", err)
	}
	err := d.save(ctx, r)
	if errors.Is(err, ErrRingMoved) {
		return fmt.Errorf("create the database's key ring: %w; rotate its keys with `sealq keys rotate`", ErrRingExists)
	}
	return err
}

// Update saves what change makes of the ring, unless somebody else was quicker: [ErrRingMoved]. change returns the same ring to
// save nothing; what else it returns must be the next version.
func (d *Database) Update(ctx context.Context, change func(*Ring) (*Ring, error)) (*Ring, error) {
	old, err := d.Load(ctx)
	if err != nil {
		return nil, err
	}
	next, err := change(old)
	switch {
	case err != nil:
		return nil, fmt.Errorf("update the database's key ring: %w", err)
	case next == old:
		return old, nil
	case next == nil:
		return nil, fmt.Errorf("update the database's key ring: %w: the change made none", ErrNoRing)
	case next.version != old.version+1:
		return nil, fmt.Errorf("update the database's key ring: the change made version %d of version %d; make one move a write", next.version, old.version)
	}
	if err := d.save(ctx, next); err != nil {
		return nil, err
	}
	return next, nil
}

func (d *Database) save(ctx context.Context, r *Ring) error {
	wrapped := d.aead.Seal(nil, nil, r.Marshal(), wrapContext(r.version)) //nolint:gosec // no nonce is given: the cipher draws its own
	if err := d.vault.SaveWrappedRing(ctx, r.version, wrapped); err != nil {
		return fmt.Errorf("save the database's key ring: %w", err)
	}
	return nil
}

// wrapContext binds what is wrapped to the version that it is saved under.
func wrapContext(version uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(labelRing), version)
}
