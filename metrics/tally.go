package metrics

import (
	"context"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/jobs/sweep"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
	"github.com/sealq/sealq/worker/janitor"
)

// TallyConfig of a Tally.
type TallyConfig struct {
	// Kinds that have series of their own. Verified tasks of others count as "other". Zero: all of them do.
	Kinds []jobs.Kind
	// Buckets of the durations of handlers, in seconds. Zero: 5 ms to 15 min.
	Buckets []float64
}

// Tally counts what it is told. Its methods are the callbacks of the packages that they are named after:
//
//	signing.Options.OnSigned  = tally.Signed
//	worker.Config.OnVerdict   = tally.Verdict
//	worker.Config.OnEnd       = tally.Ended
//	janitor.Config.OnFind     = tally.Found
//	authworker.Config.OnMail  = tally.Mailed
//	authworker.Config.OnSweep = tally.Swept
//
// It is a prometheus.Collector, and safe for concurrent use.
type Tally struct {
	kinds      map[string]string // each to itself
	signed     *prometheus.CounterVec
	verified   *prometheus.CounterVec
	refused    *prometheus.CounterVec
	unsigned   prometheus.Counter
	duplicates *prometheus.CounterVec
	deferred   *prometheus.CounterVec
	durations  *prometheus.HistogramVec
	finds      *prometheus.CounterVec
	mails      *prometheus.CounterVec
	sweptRows  *prometheus.GaugeVec
	dueRows    *prometheus.GaugeVec
	sweepLeft  *prometheus.GaugeVec
}

// NewTally makes a Tally. Its counters whose labels are known beforehand begin at zero, so that a first refusal is a rise.
func NewTally(c TallyConfig) *Tally {
	if len(c.Buckets) == 0 {
		c.Buckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900}
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, []string{"kind"})
	}
	t := &Tally{
		kinds: make(map[string]string, len(c.Kinds)),
		signed: counter("tasks_signed_total",
			"Tasks that this process signed, by kind and key.", "kind", "kid"),
		verified: counter("tasks_verified_total",
			"Tasks whose signature held and that were handed on, by kind and key.", "kind", "kid"),
		refused: counter("tasks_refused_total",
			"Tasks that were refused, by reason, and by the key that they name if the ring has it.", "reason", "kid"),
		unsigned: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Name: "tasks_unsigned_passed_total",
			Help: "Tasks without a signature that were handed on, as worker.Config.UnsignedUntil allows.",
		}),
		duplicates: counter("tasks_duplicate_total",
			"Tasks whose effect was in the ledger, and that ended as a success without another one, by kind.", "kind"),
		deferred: counter("tasks_deferred_total",
			"Times that a task was put off without using up a try, by cause.", "cause"),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "handler_duration_seconds", Buckets: c.Buckets,
			Help: "How long handlers ran, by kind and by how the run ended.",
		}, []string{"kind", "result"}),
		finds: counter("guard_finds_total",
			"What the janitor found in the queues and put in order, by what it was.", "what"),
		mails: counter("mails_total",
			"Tries of mails by what became of them, and mails that were not tried because of their address or a limit.", "outcome"),
		sweptRows: gauge("sweep_done_rows", "Rows that the sweep under way, or the last one of this process, has deleted, by kind."),
		dueRows:   gauge("sweep_due_rows", "An estimate of all that it had and has to delete, by kind."),
		sweepLeft: gauge("sweep_left_seconds", "How long the rest takes at its rate, by kind. 0: nothing is left, or it is not known."),
	}
	for _, kind := range c.Kinds {
		t.kinds[string(kind)] = string(kind)
		t.duplicates.WithLabelValues(string(kind))
	}
	for _, reason := range signing.Reasons() {
		t.refused.WithLabelValues(string(reason), "")
	}
	for _, cause := range worker.Causes() {
		t.deferred.WithLabelValues(string(cause))
	}
	for _, what := range janitor.Whats() {
		t.finds.WithLabelValues(string(what))
	}
	for _, outcome := range authjobs.MailOutcomes() {
		t.mails.WithLabelValues(string(outcome))
	}
	return t
}

// kind is the label of a verified task's kind.
func (t *Tally) kind(kind string) string {
	if known, ok := t.kinds[kind]; ok {
		return known
	}
	return other
}

// Signed counts a signature: see signing.Options.OnSigned.
func (t *Tally) Signed(kind string, kid signing.KID) {
	t.signed.WithLabelValues(t.kind(kind), kid.String()).Inc()
}

// Verdict counts what became of a task at the verifier: see worker.Config.OnVerdict. Deferrals are counted by Ended, which
// knows of those behind the verifier too.
func (t *Tally) Verdict(_ context.Context, v worker.Verdict) {
	switch v.Outcome {
	case worker.Passed:
		t.verified.WithLabelValues(t.kind(string(v.Kind)), v.KID).Inc()
	case worker.Refused:
		if v.Reason.Known() {
			t.refused.WithLabelValues(string(v.Reason), v.KID).Inc()
		}
	case worker.Duplicate:
		t.duplicates.WithLabelValues(t.kind(string(v.Kind))).Inc()
	case worker.Unsigned:
		t.unsigned.Inc()
	case worker.Deferred:
	}
}

// Ended counts how a look at a task ended: see worker.Config.OnEnd.
func (t *Tally) Ended(_ context.Context, e worker.End) {
	if e.Result == worker.ResultDeferred {
		t.deferred.WithLabelValues(string(e.Cause)).Inc()
	}
	if e.Ran {
		t.durations.WithLabelValues(t.kind(string(e.Kind)), string(e.Result)).Observe(e.Took.Seconds())
	}
}

// Found counts what a janitor put in order: see janitor.Config.OnFind.
func (t *Tally) Found(_ context.Context, f janitor.Find) {
	t.finds.WithLabelValues(string(f.What)).Add(float64(f.Count))
}

// Mailed counts what became of a mail: see authworker.Config.OnMail.
func (t *Tally) Mailed(_ context.Context, o authjobs.MailOutcome) {
	if slices.Contains(authjobs.MailOutcomes(), o) {
		t.mails.WithLabelValues(string(o)).Inc()
	}
}

// Swept tells how far a sweep is: see authworker.Config.OnSweep.
func (t *Tally) Swept(_ context.Context, p sweep.Progress) {
	kind := t.kind(p.Sweep)
	t.sweptRows.WithLabelValues(kind).Set(float64(p.Done))
	t.dueRows.WithLabelValues(kind).Set(float64(p.Due))
	t.sweepLeft.WithLabelValues(kind).Set(p.Left().Seconds())
}

func (t *Tally) collectors() []prometheus.Collector {
	return []prometheus.Collector{t.signed, t.verified, t.refused, t.unsigned, t.duplicates, t.deferred, t.durations, t.finds, t.mails, t.sweptRows, t.dueRows, t.sweepLeft}
}

// Describe implements prometheus.Collector.
func (t *Tally) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range t.collectors() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (t *Tally) Collect(ch chan<- prometheus.Metric) {
	for _, c := range t.collectors() {
		c.Collect(ch)
	}
}
