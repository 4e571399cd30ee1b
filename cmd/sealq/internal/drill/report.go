package drill

import (
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/signing/attack"
)

// Verdict is what is to be thought of a case.
type Verdict string

// The verdicts.
const (
	Held      Verdict = "held"       // the target did what the case expects
	Failed    Verdict = "failed"     // it did something else
	NotJudged Verdict = "not judged" // the task left the queue, and nobody looked where to
	NotFired  Verdict = "not fired"
)

// Result is what became of a case.
type Result struct {
	Class    attack.Class `json:"class"`
	Case     string       `json:"case"`
	Expected string       `json:"expected"` // "refused REASON", "deferred REASON" or "done"
	Got      string       `json:"got"`      // the like, or a sentence; where it was not fired, why
	Verdict  Verdict      `json:"verdict"`
}

// Report is what became of all cases.
type Report struct {
	Run       string   `json:"run"`
	Held      int      `json:"held"`
	Failed    int      `json:"failed"`
	NotJudged int      `json:"not_judged"`
	NotFired  int      `json:"not_fired"`
	Removed   int      `json:"removed"` // tasks that the run took out of Redis at its end
	Cases     []Result `json:"cases"`
}

func (r *Report) count() {
	for _, c := range r.Cases {
		switch c.Verdict {
		case Held:
			r.Held++
		case Failed:
			r.Failed++
		case NotJudged:
			r.NotJudged++
		case NotFired:
			r.NotFired++
		}
	}
}

const done = "done"

func refused(reason signing.Reason) string  { return "refused " + string(reason) }
func deferred(reason signing.Reason) string { return "deferred " + string(reason) }

func expected(c attack.Case) string {
	switch {
	case c.Want == "":
		return done
	case c.Deferred:
		return deferred(c.Want)
	default:
		return refused(c.Want)
	}
}
