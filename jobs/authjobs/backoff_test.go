package authjobs_test

import (
	"testing"
	"time"

	"github.com/sealq/sealq/jobs/authjobs"
)

// A mail server that opens some time after it was asked first, on the clock of a mail's tries.
func TestAMailOutlastsAServerThatAsksForPatienceForHalfADay(t *testing.T) {
	t.Parallel()
	policy := authjobs.MailConfirmation().Policy()
	for name, test := range map[string]struct {
		opens time.Duration
		tries int // at most
		late  time.Duration
	}{
		"greylisting for 5 minutes":   {5 * time.Minute, 4, 7 * time.Minute},
		"greylisting for 30 minutes":  {30 * time.Minute, 6, 65 * time.Minute},
		"greylisting for an hour":     {time.Hour, 7, 140 * time.Minute},
		"a full disk for six hours":   {6 * time.Hour, 10, 8*time.Hour + 30*time.Minute},
		"an overload for half a day":  {12 * time.Hour, 13, 16 * time.Hour},
		"all tries, within the day":   {13 * time.Hour, 13, 18 * time.Hour},
		"nothing: the first is taken": {0, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range 100 { // jitter
				clock, tries := time.Duration(0), 1
				for ; clock < test.opens; tries++ {
					if tries > policy.Retries {
						t.Fatalf("it is out of tries after %v", clock)
					}
					clock += policy.Backoff(tries)
				}
				if tries > test.tries || clock > test.late || clock > policy.MaxAge {
					t.Fatalf("it was taken after %v, by try %d", clock, tries)
				}
			}
		})
	}
}

func TestTheFirstSecondsUseUpNoMoreThanTwoTriesOfAMail(t *testing.T) {
	t.Parallel()
	backoff := authjobs.MailConfirmation().Policy().Backoff
	if first, second := backoff(1), backoff(2); first < 15*time.Second || second < time.Minute {
		t.Errorf("pauses of %v and %v", first, second)
	}
	for failures := range 100 {
		if pause := backoff(failures); pause < 15*time.Second || pause > 150*time.Minute {
			t.Errorf("after %d failures a pause of %v", failures, pause)
		}
	}
}
