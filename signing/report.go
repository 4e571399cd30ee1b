package signing

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Report is what one process says of its ring, for others to compare. It holds no secret.
type Report struct {
	Process     string // host and process, fit to be shown
	Version     uint64
	CheckValues map[KID][16]byte
	SeenAt      time.Time // when the report came in, by the clock of whoever keeps it
}

// ReportsCount is for how long a report counts: a process reports every minute, and one that is silent for longer has ended.
const ReportsCount = 10 * time.Minute

// ErrDisagreement is the cause of [DisagreementError].
var ErrDisagreement = errors.New("this process's keys are not those of the others")

// DisagreementError names the processes whose ring or audience is not this one's. Either would refuse what the other signs.
type DisagreementError struct {
	Processes []string
}

// Error returns one sentence.
func (e *DisagreementError) Error() string {
	return fmt.Sprintf("%v: %s; compare the key ring and the audience (`sealq keys check`) before either refuses what the other signs",
		ErrDisagreement, strings.Join(e.Processes, ", "))
}

// Unwrap returns [ErrDisagreement].
func (*DisagreementError) Unwrap() error { return ErrDisagreement }

// Leaving is the last report of a process that ends in order: it names the keys that were known, with check values of zero.
func (r Report) Leaving() Report {
	kids := make(map[KID][16]byte, len(r.CheckValues))
	for kid := range r.CheckValues {
		kids[kid] = [16]byte{}
	}
	r.CheckValues = kids
	return r
}

// Ended reports whether the process has taken its leave: it counts no more.
func (r Report) Ended() bool {
	for _, check := range r.CheckValues {
		if check != ([16]byte{}) {
			return false
		}
	}
	return true
}

// Report says what these keys are, for others to compare.
func (k *Keys) Report(process string) Report {
	return Report{Process: process, Version: k.Version(), CheckValues: k.CheckValues()}
}

// Agrees compares these keys with the reports of other processes: a [DisagreementError] where a key that both know has another
// check value (another audience), or where they know no key in common (another ring). A ring that is merely older or newer agrees.
func (k *Keys) Agrees(others []Report) error {
	own := k.CheckValues()
	var differ []string
	for _, other := range others {
		if other.Ended() {
			continue
		}
		common, equal := 0, 0
		for kid, check := range other.CheckValues {
			if mine, ok := own[kid]; ok {
				common++
				if mine == check {
					equal++
				}
			}
		}
		if equal < common || common == 0 {
			differ = append(differ, other.Process)
		}
	}
	if len(differ) == 0 {
		return nil
	}
	slices.Sort(differ)
	return &DisagreementError{Processes: slices.Compact(differ)}
}

// Knowing sorts the reporting processes by whether they know the key as these keys do. Those that have ended are in neither.
func (k *Keys) Knowing(kid KID, reports []Report) (knowing, missing []string) {
	own, have := k.CheckValues()[kid]
	for _, r := range reports {
		check, ok := r.CheckValues[kid]
		switch {
		case r.Ended():
		case ok && have && check == own:
			knowing = append(knowing, r.Process)
		default:
			missing = append(missing, r.Process)
		}
	}
	return knowing, missing
}

// ErrNotPropagated is the cause of [NotPropagatedError].
var ErrNotPropagated = errors.New("the key has not reached every process yet")

// NotPropagatedError says who would have to defer what a key signs.
type NotPropagatedError struct {
	KID     KID
	Knowing []string // processes that know the key
	Missing []string // processes that do not
	Expect  int      // how many were expected to know it
}

// Error returns one sentence.
func (e *NotPropagatedError) Error() string {
	s := fmt.Sprintf("key %s: %v: ", e.KID, ErrNotPropagated)
	if len(e.Missing) > 0 {
		return s + "not known to " + strings.Join(e.Missing, ", ")
	}
	return s + fmt.Sprintf("%d of at least %d expected report it", len(e.Knowing), e.Expect)
}

// Unwrap returns [ErrNotPropagated].
func (*NotPropagatedError) Unwrap() error { return ErrNotPropagated }

// Propagated returns the processes that know the key as these keys do, or a [NotPropagatedError] if one that reports does not,
// or if they are fewer than expect.
func (k *Keys) Propagated(kid KID, reports []Report, expect int) (knowing []string, err error) {
	knowing, missing := k.Knowing(kid, reports)
	if len(missing) > 0 || len(knowing) < expect {
		return nil, &NotPropagatedError{KID: kid, Knowing: knowing, Missing: missing, Expect: expect}
	}
	return knowing, nil
}
