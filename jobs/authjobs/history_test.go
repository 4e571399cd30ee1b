package authjobs_test

import (
	"testing"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
)

func TestAccountOfReadsWhoseMailARowAsksFor(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		kind       jobs.Kind
		payload    string
		account    string
		generation uint64
	}{
		"a confirmation":          {"mail:confirmation", `{"pending_id":"p","generation":3}`, "p", 3},
		"a mail to an owner":      {"mail:password_reset", `{"user_id":"u","generation":4}`, "u", 4},
		"written by SQL":          {"mail:password_reset", `{"user_id": "u", "generation": 4}`, "u", 4},
		"another kind":            {"lockouts:reset", `{"user_id":"u","generation":4}`, "", 0},
		"what nobody understands": {"mail:confirmation", `{"pending_id":7}`, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			account, generation := authjobs.AccountOf(test.kind, []byte(test.payload))
			if account != test.account || generation != test.generation {
				t.Errorf("got %q, %d", account, generation)
			}
		})
	}
}
