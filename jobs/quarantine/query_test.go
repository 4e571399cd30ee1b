package quarantine_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/signing"
)

func TestAFilterTravelsAsTextsAndComesBackAsItWas(t *testing.T) {
	t.Parallel()
	for sentence, f := range map[string]quarantine.Filter{
		"entries":     {IDs: []string{"a", "b"}, Authentic: true},
		"an age":      {OlderThan: 720 * time.Hour},
		"a reason":    {Reason: signing.ReasonExpired},
		"a queue":     {Queue: "mail"},
		"a kind":      {Kind: "a kind\x00"},
		"all of them": {IDs: []string{"a"}, OlderThan: time.Second, Reason: signing.ReasonExpired, Queue: "q", Kind: "k", Authentic: true},
	} {
		got, err := quarantine.FilterOf(f.Args())
		if err != nil {
			t.Errorf("%s: %v", sentence, err)
		}
		if diff := cmp.Diff(f, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", sentence, diff)
		}
	}
}

func TestTextsThatMeanEverythingOrNothingAreNoFilter(t *testing.T) {
	t.Parallel()
	for sentence, args := range map[string]map[string]string{
		"nothing":                 nil,
		"only what was signed":    {"authentic": "true"},
		"IDs that are none":       {"ids": " \t"},
		"an age that is none":     {"older_than": "old"},
		"no age at all":           {"older_than": "0s"},
		"an age to come":          {"older_than": "-1h"},
		"an age without a unit":   {"older_than": "7"},
		"a reason that is none":   {"reason": "<b>"},
		"what it does not know":   {"olderthan": "1h"},
		"an age and a bad reason": {"older_than": "1h", "reason": "all"},
	} {
		if f, err := quarantine.FilterOf(args); !errors.Is(err, quarantine.ErrFilter) {
			t.Errorf("%s: %+v, %v", sentence, f, err)
		}
	}
}

func TestAQueryTravelsAsTextsAndOneOfEverythingIsNone(t *testing.T) {
	t.Parallel()
	q := quarantine.Query{Reason: "expired", Queue: "mail", Kind: "k"}
	got, err := quarantine.QueryOf(q.Args())
	if diff := cmp.Diff(q, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, q := range []quarantine.Query{{}, {Releasable: true}, {Before: quarantine.Place{At: time.Now(), ID: "a"}}} {
		if got, err := quarantine.QueryOf(q.Args()); !errors.Is(err, quarantine.ErrFilter) {
			t.Errorf("%+v is read as %+v, %v", q, got, err)
		}
	}
}
