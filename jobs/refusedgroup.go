package jobs

import (
	"time"

	"github.com/sealq/sealq/signing"
)

// RefusedGroup counts what stands in quarantine for one reason, in one queue, and was not released.
type RefusedGroup struct {
	Queue     string
	Reason    signing.Reason
	Authentic bool
	Entries   int64
	First     time.Time
	Last      time.Time
}
