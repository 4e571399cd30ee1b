package metrics_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/sweep"
	"github.com/sealq/sealq/metrics"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
	"github.com/sealq/sealq/worker/janitor"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestATallyCountsWhatItIsTold(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	tally := metrics.NewTally(metrics.TallyConfig{Kinds: []jobs.Kind{"mail:confirmation"}, Buckets: []float64{1}})
	kid := signing.KID{0xab, 0xcd, 0xef, 0x01}
	tally.Signed("mail:confirmation", kid)
	tally.Signed("an app's own", kid)
	tally.Signed("another of its own", kid)
	for _, v := range []worker.Verdict{
		{Outcome: worker.Passed, Kind: "mail:confirmation", KID: "abcdef01"},
		{Outcome: worker.Passed, Kind: "an app's own", KID: "abcdef01"},
		{Outcome: worker.Duplicate, Kind: "mail:confirmation"},
		{Outcome: worker.Unsigned, Reason: signing.ReasonMissingSignature},
		{Outcome: worker.Refused, Reason: signing.ReasonBadSignature, KID: "abcdef01"},
		{Outcome: worker.Refused, Reason: signing.ReasonBadSignature},
		{Outcome: worker.Refused, Reason: "invented"},
		{Outcome: worker.Deferred, Reason: signing.ReasonUnknownKey},
	} {
		tally.Verdict(ctx, v)
	}
	for _, e := range []worker.End{
		{Result: worker.ResultDeferred, Cause: worker.CauseUnknownKey},
		{Kind: "mail:confirmation", Result: worker.ResultDone, Ran: true, Took: 1500 * time.Millisecond},
		{Kind: "mail:confirmation", Result: worker.ResultDeferred, Cause: worker.CauseOutage, Ran: true, Took: time.Second},
	} {
		tally.Ended(ctx, e)
	}
	begun := time.Unix(1_800_000_000, 0)
	tally.Swept(ctx, sweep.Progress{Sweep: "mail:confirmation", Done: 300, Due: 900, BeganAt: begun, ToldAt: begun.Add(3 * time.Second)})
	tally.Swept(ctx, sweep.Progress{Sweep: "another of its own", Done: 7})
	tally.Found(ctx, janitor.Find{What: janitor.Undecodable, Queue: "mail", Count: 3})

	for name, want := range map[string]string{
		"sealq_tasks_signed_total": `
			# HELP sealq_tasks_signed_total Tasks that this process signed, by kind and key.
			# TYPE sealq_tasks_signed_total counter
			sealq_tasks_signed_total{kid="abcdef01",kind="mail:confirmation"} 1
			sealq_tasks_signed_total{kid="abcdef01",kind="other"} 2
		`,
		"sealq_tasks_verified_total": `
			# HELP sealq_tasks_verified_total Tasks whose signature held and that were handed on, by kind and key.
			# TYPE sealq_tasks_verified_total counter
			sealq_tasks_verified_total{kid="abcdef01",kind="mail:confirmation"} 1
			sealq_tasks_verified_total{kid="abcdef01",kind="other"} 1
		`,
		"sealq_tasks_unsigned_passed_total": `
			# HELP sealq_tasks_unsigned_passed_total Tasks without a signature that were handed on, as worker.Config.UnsignedUntil allows.
			# TYPE sealq_tasks_unsigned_passed_total counter
			sealq_tasks_unsigned_passed_total 1
		`,
		"sealq_tasks_duplicate_total": `
			# HELP sealq_tasks_duplicate_total Tasks whose effect was in the ledger, and that ended as a success without another one, by kind.
			# TYPE sealq_tasks_duplicate_total counter
			sealq_tasks_duplicate_total{kind="mail:confirmation"} 1
		`,
		"sealq_handler_duration_seconds": `
			# HELP sealq_handler_duration_seconds How long handlers ran, by kind and by how the run ended.
			# TYPE sealq_handler_duration_seconds histogram
			sealq_handler_duration_seconds_bucket{kind="mail:confirmation",result="deferred",le="1"} 1
			sealq_handler_duration_seconds_bucket{kind="mail:confirmation",result="deferred",le="+Inf"} 1
			sealq_handler_duration_seconds_sum{kind="mail:confirmation",result="deferred"} 1
			sealq_handler_duration_seconds_count{kind="mail:confirmation",result="deferred"} 1
			sealq_handler_duration_seconds_bucket{kind="mail:confirmation",result="done",le="1"} 0
			sealq_handler_duration_seconds_bucket{kind="mail:confirmation",result="done",le="+Inf"} 1
			sealq_handler_duration_seconds_sum{kind="mail:confirmation",result="done"} 1.5
			sealq_handler_duration_seconds_count{kind="mail:confirmation",result="done"} 1
		`,
	} {
		check(t, testutil.CollectAndCompare(tally, strings.NewReader(want), name))
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(tally)
	got := samples(t, registry)
	for series, want := range map[string]float64{
		`sealq_tasks_refused_total{kid="",reason="bad_signature"}`:         1,
		`sealq_tasks_refused_total{kid="abcdef01",reason="bad_signature"}`: 1,
		`sealq_tasks_refused_total{kid="",reason="expired"}`:               0,
		`sealq_tasks_deferred_total{cause="unknown_key"}`:                  1,
		`sealq_tasks_deferred_total{cause="outage"}`:                       1,
		`sealq_tasks_deferred_total{cause="limit"}`:                        0,
		`sealq_sweep_done_rows{kind="mail:confirmation"}`:                  300,
		`sealq_sweep_due_rows{kind="mail:confirmation"}`:                   900,
		`sealq_sweep_left_seconds{kind="mail:confirmation"}`:               6,
		`sealq_sweep_done_rows{kind="other"}`:                              7,
		`sealq_guard_finds_total{what="undecodable"}`:                      3,
		`sealq_guard_finds_total{what="no_task"}`:                          0,
	} {
		if value, ok := got[series]; !ok || value != want {
			t.Errorf("%s is %v (%v), want %v", series, value, ok, want)
		}
	}
	for series := range got {
		if strings.Contains(series, "invented") || strings.Contains(series, "of its own") {
			t.Errorf("there is a series %s", series)
		}
	}
}
