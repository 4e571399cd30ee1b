package dashboard

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"github.com/sealq/sealq/operators"
)

const (
	// knownFor is for how long a key that was good is taken for good while the database does not answer.
	knownFor = time.Hour
	// mostKnown is how many are remembered.
	mostKnown = 100
	// keyPatience is how long the database may take to say whose key it is, where it is remembered.
	keyPatience = 2 * time.Second
)

// known remembers keys for the one page that must be answered while the database is away, and tells that it is: the metrics.
type known struct {
	mu   sync.Mutex
	keys map[[32]byte]knownKey
}

type knownKey struct {
	operators.Key

	at time.Time
}

func newKnown() *known { return &known{keys: make(map[[32]byte]knownKey)} }

// key says whose key it is. Where the database does not say, and the route is steady, it is whose it was lately.
func (d *Dashboard) key(ctx context.Context, secret string, steady bool) (operators.Key, error) {
	if steady {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, keyPatience)
		defer cancel()
	}
	k, err := d.cfg.Operators.Key(ctx, secret)
	if !steady {
		return k, err
	}
	d.known.mu.Lock()
	defer d.known.mu.Unlock()
	hash, now := sha256.Sum256([]byte(secret)), d.cfg.Now()
	switch was, ok := d.known.keys[hash]; {
	case err == nil:
		if _, ok := d.known.keys[hash]; !ok && len(d.known.keys) >= mostKnown {
			clear(d.known.keys) // those that are used come back at their next request
		}
		d.known.keys[hash] = knownKey{k, now}
	case errors.Is(err, operators.ErrNoKey):
		delete(d.known.keys, hash)
	case ok && now.Sub(was.at) < knownFor && was.ExpiresAt.After(now):
		return was.Key, nil
	}
	return k, err
}
