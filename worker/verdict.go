package worker

import (
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
)

// Outcome is what became of a task at the verifier.
type Outcome string

// The outcomes.
const (
	Passed    Outcome = "passed"    // verified, handed on
	Unsigned  Outcome = "unsigned"  // not signed, handed on while observing
	Duplicate Outcome = "duplicate" // its effect was committed before: ended as a success
	Deferred  Outcome = "deferred"  // looked at again later; no attempt used up
	Refused   Outcome = "refused"   // in quarantine, or Counted
)

// Verdict tells of one task. It carries nothing that an unverified task says of itself, so that every field may
// become a metric's label.
type Verdict struct {
	Outcome Outcome
	Reason  signing.Reason // where Unsigned, Deferred or Refused
	Kind    jobs.Kind      // where Passed or Duplicate
	KID     string         // of a key in the ring, where known
	Counted bool           // where Refused: the quarantine was full, the forged task was counted and not kept
}
