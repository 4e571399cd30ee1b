package drill

import (
	"context"
	"time"
)

// The pace, for its test.
const (
	DefaultKeyShots = defaultKeyShots
	KeyWindow       = keyWindow
)

// NewPace returns the wait of a pacer.
func NewPace(limit int, window time.Duration) func(context.Context) error {
	return (&pacer{limit: limit, window: window, now: time.Now}).wait
}
