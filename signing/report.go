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
		common, equal := 0, 0
		for kid, check := range other.CheckValues {
			if mine, ok := own[kid]; ok {
				common++
				if mine == check {
					equal++
				}
			}
		}
		if equal < common || common == 0 && len(other.CheckValues) > 0 {
			differ = append(differ, other.Process)
		}
	}
	if len(differ) == 0 {
		return nil
	}
	slices.Sort(differ)
	return &DisagreementError{Processes: slices.Compact(differ)}
}

// Knowing sorts the reporting processes by whether they know the key as these keys do.
func (k *Keys) Knowing(kid KID, reports []Report) (knowing, missing []string) {
	own, have := k.CheckValues()[kid]
	for _, r := range reports {
		if check, ok := r.CheckValues[kid]; ok && have && check == own {
			knowing = append(knowing, r.Process)
		} else {
			missing = append(missing, r.Process)
		}
	}
	return knowing, missing
}
