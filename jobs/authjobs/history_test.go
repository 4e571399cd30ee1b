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

func TestTheEarliestRowOfAnAccountIsAnHourOlderThanItsID(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]string{
		"0198c0de-0000-7abc-8000-000000000001": "0198c0a7-1180-0000-0000-000000000000", // 0x36ee80 ms are an hour
		"00000000-0001-7abc-8000-000000000001": "00000000-0000-0000-0000-000000000000",
		"9b2f4e0a-5a0d-4b8e-9d1c-0123456789ab": "00000000-0000-0000-0000-000000000000", // of version 4: it tells no time
		"no UUID":                              "00000000-0000-0000-0000-000000000000",
	} {
		if got := authjobs.EarliestRow(id); got != want {
			t.Errorf("%s: want %s, got %s", id, want, got)
		}
	}
}
