package signing_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/signing"
)

// of opens a ring for an audience and reports it.
func of(t *testing.T, r *signing.Ring, audience, process string) signing.Report {
	t.Helper()
	return openWith(t, &memory{ring: r}, audience, signing.Options{Now: newClock(t0).Now}).Report(process)
}

// moved is what a move made of a ring.
func moved(t *testing.T, r *signing.Ring, err error) *signing.Ring {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAReportHoldsVersionAndCheckValuesOfEveryKeyWithASecret(t *testing.T) {
	t.Parallel()
	next, err := ringA(t).RevokeActive(mustKID(t, kidA), signing.KID{}, t0)
	revoked := moved(t, next, err)
	next, err = revoked.Destroy(mustKID(t, kidA), t0, signing.Destruction{})
	destroyed := moved(t, next, err)
	k := open(t, revoked, t0)
	want := signing.Report{Process: "host/7", Version: 8, CheckValues: k.CheckValues()}
	got := k.Report("host/7")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	if len(got.CheckValues) != 2 {
		t.Errorf("want the check values of the revoked and of the active key, got %d", len(got.CheckValues))
	}
	if values := of(t, destroyed, "test", "host/7").CheckValues; len(values) != 1 {
		t.Errorf("want no check value of a destroyed key, got %v", values)
	}
}

func TestALeavingReportNamesItsKeysAndCountsNoMore(t *testing.T) {
	t.Parallel()
	there := of(t, ringA(t), "test", "host/7")
	gone := there.Leaving()
	want := signing.Report{Process: "host/7", Version: 7, CheckValues: map[signing.KID][16]byte{mustKID(t, kidA): {}}}
	if diff := cmp.Diff(want, gone); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	if there.Ended() || !gone.Ended() || !(signing.Report{}).Ended() {
		t.Errorf("ended: want false, true, true; got %v, %v, %v", there.Ended(), gone.Ended(), signing.Report{}.Ended())
	}
}

func TestAgreesNamesTheProcessesWithAnotherRingOrAudience(t *testing.T) {
	t.Parallel()
	a := ringA(t)
	next, err := a.Rotate(t0, nil)
	newer := moved(t, next, err)
	foreign := parse(t, ringFields(keyFields(kidB, "active", secretB)))
	for name, c := range map[string]struct {
		others []signing.Report
		differ []string
	}{
		"nobody reports":         {nil, nil},
		"the same ring":          {[]signing.Report{of(t, a, "test", "h/1")}, nil},
		"a ring that is ahead":   {[]signing.Report{of(t, newer, "test", "h/1")}, nil},
		"another audience":       {[]signing.Report{of(t, a, "prod", "h/1")}, []string{"h/1"}},
		"another ring":           {[]signing.Report{of(t, foreign, "test", "h/1")}, []string{"h/1"}},
		"some of many, in order": {[]signing.Report{of(t, foreign, "test", "h/9"), of(t, a, "test", "h/1"), of(t, newer, "prod", "h/2"), of(t, foreign, "test", "h/9")}, []string{"h/2", "h/9"}},
		"one that has ended":     {[]signing.Report{of(t, foreign, "test", "h/1").Leaving(), of(t, a, "test", "h/2").Leaving()}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := open(t, a, t0).Agrees(c.others)
			if c.differ == nil {
				if err != nil {
					t.Errorf("want agreement, got %v", err)
				}
				return
			}
			var disagreement *signing.DisagreementError
			if !errors.As(err, &disagreement) || !errors.Is(err, signing.ErrDisagreement) {
				t.Fatalf("want a DisagreementError, got %v", err)
			}
			if diff := cmp.Diff(c.differ, disagreement.Processes); diff != "" {
				t.Errorf("processes (-want +got):\n%s", diff)
			}
			if text := err.Error(); !strings.Contains(text, strings.Join(c.differ, ", ")) || strings.Contains(text, "sealq1_") {
				t.Errorf("the sentence must name the processes and no secret: %s", text)
			}
		})
	}
}

// A host that is one ring behind sees a key that it does not know; it must not take the newer ring for a foreign one.
func TestAgreesWithANewerRingFromTheOlderOnesSide(t *testing.T) {
	t.Parallel()
	next, err := ringA(t).Rotate(t0, nil)
	newer := moved(t, next, err)
	if err := open(t, newer, t0).Agrees([]signing.Report{of(t, ringA(t), "test", "old/1")}); err != nil {
		t.Errorf("want agreement, got %v", err)
	}
}

func TestKnowingSortsProcessesByWhetherTheyHaveTheKeyAsItIsHere(t *testing.T) {
	t.Parallel()
	next, err := ringA(t).Rotate(t0, nil)
	newer := moved(t, next, err)
	published := newer.Keys()[1].KID
	reports := []signing.Report{
		of(t, newer, "test", "knows/1"), of(t, ringA(t), "test", "behind/1"), of(t, newer, "prod", "elsewhere/1"),
		{Process: "ended/1", Version: 8},
		of(t, newer, "test", "knows/2"),
	}
	for name, c := range map[string]struct {
		kid              signing.KID
		knowing, missing []string
	}{
		"a published key":        {published, []string{"knows/1", "knows/2"}, []string{"behind/1", "elsewhere/1"}},
		"the key that all share": {mustKID(t, kidA), []string{"knows/1", "behind/1", "knows/2"}, []string{"elsewhere/1"}},
		"a key that is not here": {mustKID(t, kidB), nil, []string{"knows/1", "behind/1", "elsewhere/1", "knows/2"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			knowing, missing := open(t, newer, t0).Knowing(c.kid, reports)
			if diff := cmp.Diff(c.knowing, knowing); diff != "" {
				t.Errorf("knowing (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.missing, missing); diff != "" {
				t.Errorf("missing (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAKeyIsPropagatedWhenEveryProcessKnowsItAndEnoughDo(t *testing.T) {
	t.Parallel()
	next, err := ringA(t).Rotate(t0, nil)
	newer := moved(t, next, err)
	kid := newer.Keys()[1].KID
	knows, behind := of(t, newer, "test", "knows/1"), of(t, ringA(t), "test", "behind/1")
	for name, c := range map[string]struct {
		reports []signing.Report
		expect  int
		want    string // of the error; "" for none
	}{
		"all of one":               {[]signing.Report{knows}, 1, ""},
		"nobody, as was expected":  {nil, 0, ""},
		"nobody where one should":  {nil, 1, "0 of at least 1 expected report it"},
		"one where two should":     {[]signing.Report{knows, knows.Leaving()}, 2, "1 of at least 2 expected report it"},
		"one knows, one is behind": {[]signing.Report{knows, behind}, 1, "not known to behind/1"},
		"one of another audience":  {[]signing.Report{knows, of(t, newer, "prod", "elsewhere/1")}, 0, "not known to elsewhere/1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			knowing, err := open(t, newer, t0).Propagated(kid, c.reports, c.expect)
			if c.want == "" {
				if err != nil || len(knowing) != len(c.reports) {
					t.Errorf("want all %d, got %q, %v", len(c.reports), knowing, err)
				}
				return
			}
			var not *signing.NotPropagatedError
			if !errors.As(err, &not) || !errors.Is(err, signing.ErrNotPropagated) || not.KID != kid || !strings.Contains(err.Error(), c.want) {
				t.Errorf("want a NotPropagatedError with %q, got %v", c.want, err)
			}
		})
	}
}
