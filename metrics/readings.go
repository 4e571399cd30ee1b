package metrics

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/jobs/relay"
	"github.com/sealq/sealq/signing"
)

// Sources are whom Readings ask. What is nil or empty is not asked, and has no series.
type Sources struct {
	// Ring is a *signing.Keys.
	Ring Ring
	// Relay is a *relay.Relay.
	Relay Relay
	// Kinds have series of their own among the rows of the outbox. Rows of others count as "other". Zero: all of them do.
	Kinds []jobs.Kind
	// Overflow is a *quarantine.Keeper.
	Overflow Overflow
	// Quarantine is a database. It is asked at most every Fresh.
	Quarantine Quarantine
	// Budgets are the quarantine's. Zero fields: those of quarantine.DefaultBudgets.
	Budgets quarantine.Budgets
	// Redis is where Queues are counted, at most every Fresh, in two trips. Zero: they are not.
	Redis redis.UniversalClient
	// Queues that are served. Others have no series.
	Queues []string
	// Breakers are *worker.Breaker.
	Breakers []Breaker
	// Connections to the mail server, of this process: what a *mail.Sender's Stats tell.
	Connections func() Connections
	// Alarms are raised while they return an error, such as worker.Verifier.Alarm. They return at once.
	Alarms map[string]func() error
	// Dependencies are what the process needs, each with what finds out whether it can be used. It is called at most every
	// Fresh, and should return when its context ends.
	Dependencies map[string]func(context.Context) error

	// Schedules tells what a watchdog over schedules found last. It returns at once.
	Schedules func() []Schedule

	// Fresh is how long an answer is given again before the next question. Zero: 5 s.
	Fresh time.Duration
	// Patience is how long a scrape waits for answers, all together. Zero: 2 s.
	Patience time.Duration
	// Now is the clock. Zero: time.Now.
	Now func() time.Time
}

// Ring is the key ring in use.
type Ring interface {
	Version() uint64
	Infos() []signing.KeyInfo
	Confirmed() (at time.Time, err error)
}

// Relay tells what it has moved.
type Relay interface{ Stats() relay.Stats }

// Overflow tells what found no room in the quarantine.
type Overflow interface {
	Overflow() map[signing.Reason]quarantine.Overflow
}

// Quarantine tells how full it is.
type Quarantine interface {
	QuarantineUsage(ctx context.Context) (quarantine.Usage, error)
}

// Breaker keeps jobs away from an outside system that is down.
type Breaker interface {
	System() string
	Open() error
}

// Readings are what others tell when Prometheus asks. A scrape takes no longer than Sources.Patience, whoever does not answer:
// what cannot be read then has no sample, and sealq_dependency_up says whose fault it is. It is a prometheus.Collector, and
// safe for concurrent use.
type Readings struct {
	from   Sources
	kinds  map[jobs.Kind]bool
	asking *asking

	queues     *asked[map[string]depth]
	quarantine *asked[quarantine.Usage]
	up         map[string]*asked[struct{}]

	descs map[string]*prometheus.Desc
}

// NewReadings makes Readings. Close them before what they ask is closed.
func NewReadings(s Sources) (*Readings, error) {
	if s.Redis != nil && len(s.Queues) == 0 {
		return nil, errors.New("new readings: a Redis without names of queues; name those that are served")
	}
	if s.Fresh <= 0 {
		s.Fresh = 5 * time.Second
	}
	if s.Patience <= 0 {
		s.Patience = 2 * time.Second
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	r := &Readings{
		from: s, kinds: make(map[jobs.Kind]bool), asking: newAsking(s.Now, s.Fresh, s.Patience),
		up: make(map[string]*asked[struct{}]), descs: make(map[string]*prometheus.Desc),
	}
	for _, kind := range s.Kinds {
		r.kinds[kind] = true
	}
	for name, probe := range s.Dependencies {
		r.up[name] = &asked[struct{}]{asking: r.asking, ask: func(ctx context.Context) (struct{}, error) { return struct{}{}, probe(ctx) }}
	}
	if s.Redis != nil {
		r.queues = &asked[map[string]depth]{asking: r.asking, ask: func(ctx context.Context) (map[string]depth, error) {
			return depths(ctx, s.Redis, s.Queues, s.Now())
		}}
	}
	if s.Quarantine != nil {
		r.quarantine = &asked[quarantine.Usage]{asking: r.asking, ask: s.Quarantine.QuarantineUsage}
	}
	for _, f := range append(families(), scheduleFamilies()...) {
		if f.asked(r) {
			r.descs[f.name] = prometheus.NewDesc(namespace+"_"+f.name, f.help, f.labels, nil)
		}
	}
	return r, nil
}

// Close ends what is under way, and waits for it. Readings that are closed have no more samples of what must be asked.
func (r *Readings) Close() error {
	r.asking.close()
	return nil
}

// Describe implements prometheus.Collector.
func (r *Readings) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range r.descs {
		ch <- desc
	}
}

// scrape is one round of questions.
type scrape struct {
	*Readings
	ch chan<- prometheus.Metric
}

func (s scrape) gauge(name string, value float64, labels ...string) {
	s.ch <- prometheus.MustNewConstMetric(s.descs[name], prometheus.GaugeValue, value, labels...)
}

func (s scrape) counter(name string, value float64, labels ...string) {
	s.ch <- prometheus.MustNewConstMetric(s.descs[name], prometheus.CounterValue, value, labels...)
}

// Collect implements prometheus.Collector.
func (r *Readings) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), r.from.Patience) // collectors are given none
	defer cancel()
	s := scrape{r, ch}
	var g sync.WaitGroup
	for name, up := range r.up {
		g.Go(func() {
			_, err := up.get(ctx)
			s.gauge("dependency_up", boolean(err == nil), name)
		})
	}
	g.Go(func() { s.readQueues(ctx) })
	g.Go(func() { s.readQuarantine(ctx) })
	s.readRing()
	s.readRelay()
	s.readOverflow()
	s.readConnections()
	s.readSchedules()
	for _, b := range r.from.Breakers {
		s.gauge("breaker_open", boolean(b.Open() != nil), b.System())
	}
	for name, alarm := range r.from.Alarms {
		s.gauge("alarm_raised", boolean(alarm() != nil), name)
	}
	g.Wait()
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (s scrape) readQueues(ctx context.Context) {
	if s.queues == nil {
		return
	}
	found, err := s.queues.get(ctx)
	if err != nil {
		return // dependency_up tells
	}
	for queue, d := range found {
		for state, n := range d.tasks {
			s.gauge("queue_tasks", float64(n), queue, state)
		}
		if d.timed {
			s.gauge("queue_latency_seconds", d.oldest.Seconds(), queue)
		}
	}
}

func (s scrape) readQuarantine(ctx context.Context) {
	if s.quarantine == nil {
		return
	}
	for class, b := range s.budgets() {
		s.gauge("quarantine_budget_entries", float64(b.Entries), string(class))
		s.gauge("quarantine_budget_bytes", float64(b.Bytes), string(class))
	}
	usage, err := s.quarantine.get(ctx)
	if err != nil {
		return
	}
	for class, used := range map[quarantine.Class]quarantine.Used{
		quarantine.Unverified: usage.Unverified, quarantine.Moved: usage.Moved, quarantine.Reserved: usage.Authentic,
	} {
		s.gauge("quarantine_entries", float64(used.Entries), string(class))
		s.gauge("quarantine_bytes", float64(used.Bytes), string(class))
	}
}

// budgets are those of each class, by an entry of it.
func (r *Readings) budgets() map[quarantine.Class]quarantine.Budget {
	all := make(map[quarantine.Class]quarantine.Budget)
	for _, of := range []jobs.Refused{
		{Reason: signing.ReasonBadSignature},
		{Reason: signing.ReasonExpired, Authentic: true},
		{Reason: signing.ReasonBadPayload, Authentic: true},
	} {
		all[quarantine.ClassOf(of)] = r.from.Budgets.Of(of)
	}
	return all
}

func (s scrape) readRing() {
	ring := s.from.Ring
	if ring == nil {
		return
	}
	s.gauge("ring_version", float64(ring.Version()))
	if at, _ := ring.Confirmed(); !at.IsZero() {
		s.gauge("ring_confirmed_timestamp_seconds", float64(at.UnixMilli())/1000)
	}
	now := s.from.Now()
	for _, key := range ring.Infos() {
		if key.State != signing.Destroyed { // a tombstone, of which there is one more with each rotation
			s.gauge("ring_key_age_seconds", now.Sub(key.CreatedAt).Seconds(), key.KID.String(), string(key.State))
		}
	}
}

func (s scrape) readOverflow() {
	if s.from.Overflow == nil {
		return
	}
	counted := s.from.Overflow.Overflow()
	for _, reason := range signing.Reasons() {
		s.counter("quarantine_overflow_total", float64(counted[reason].Entries), string(reason))
	}
}

func (s scrape) readRelay() {
	if s.from.Relay == nil {
		return
	}
	st := s.from.Relay.Stats()
	for result, n := range map[string]uint64{
		"relayed": st.Relayed, "present": st.Present, "refused": st.Refused, "left": st.Left, "returned": st.Returned, "expired": st.Expired,
	} {
		s.counter("relay_rows_total", float64(n), result)
	}
	s.counter("relay_tasks_restored_total", float64(st.Restored))
	for _, queue := range append(slices.Clone(s.from.Queues), other) {
		held := slices.ContainsFunc(st.Held, func(h relay.HeldQueue) bool { return s.queue(h.Queue) == queue })
		s.gauge("relay_queue_held", boolean(held), queue)
	}
	if st.BacklogAt.IsZero() {
		return
	}
	s.gauge("outbox_counted_timestamp_seconds", float64(st.BacklogAt.UnixMilli())/1000)
	s.readBacklog(st.Backlog)
}

// readBacklog adds up what is of one kind, whatever its queue.
func (s scrape) readBacklog(backlog []jobs.Backlog) {
	type place struct{ kind, state string }
	rows, oldest := make(map[place]int64), make(map[place]time.Duration)
	for _, kind := range append(slices.Clone(s.from.Kinds), other) {
		for _, state := range unfinished() {
			rows[place{string(kind), string(state)}] = 0
		}
	}
	for _, b := range backlog {
		if !slices.Contains(unfinished(), b.State) {
			continue
		}
		at := place{other, string(b.State)}
		if s.kinds[b.Kind] {
			at.kind = string(b.Kind)
		}
		rows[at] += b.Rows
		oldest[at] = max(oldest[at], b.Oldest)
	}
	for at, n := range rows {
		s.gauge("outbox_rows", float64(n), at.kind, at.state)
		s.gauge("outbox_oldest_seconds", oldest[at].Seconds(), at.kind, at.state)
	}
}

func unfinished() []jobs.RowState {
	return []jobs.RowState{jobs.RowQueued, jobs.RowClaimed, jobs.RowEnqueued}
}

// queue is the label of a queue.
func (r *Readings) queue(name string) string {
	if slices.Contains(r.from.Queues, name) {
		return name
	}
	return other
}

// family is one metric.
type family struct {
	name   string
	help   string
	labels []string
	asked  func(*Readings) bool // whether its source was given
}

func families() []family {
	ring := func(r *Readings) bool { return r.from.Ring != nil }
	moved := func(r *Readings) bool { return r.from.Relay != nil }
	kept := func(r *Readings) bool { return r.quarantine != nil }
	connected := func(r *Readings) bool { return r.from.Connections != nil }
	queued := func(r *Readings) bool { return r.queues != nil }
	return []family{
		{"dependency_up", "Whether what this process needs can be used, as /readyz sees it: 1, else 0.", []string{"dependency"}, func(r *Readings) bool { return len(r.up) > 0 }},
		{"alarm_raised", "Whether the alarm is raised: 1, else 0.", []string{"alarm"}, func(r *Readings) bool { return len(r.from.Alarms) > 0 }},
		{"breaker_open", "Whether jobs are kept away from the outside system, because it is down: 1, else 0.", []string{"system"}, func(r *Readings) bool { return len(r.from.Breakers) > 0 }},

		{"smtp_connections", "Connections of this process to the mail server, by state: busy, also while they are made, or idle.", []string{"state"}, connected},
		{"smtp_mails_waiting", "Mails of this process that wait for a connection to the mail server.", nil, connected},
		{"smtp_dials_total", "Connections that this process made to the mail server.", nil, connected},
		{"smtp_reuses_total", "Mails that this process sent over a connection that was there.", nil, connected},

		{"queue_tasks", "Tasks in Redis, by queue and state. Every process counts the same.", []string{"queue", "state"}, queued},
		{"queue_latency_seconds", "For how long the task that is next in the queue has waited; 0 if none does.", []string{"queue"}, queued},

		{"ring_version", "Version of the key ring in use.", nil, ring},
		{"ring_confirmed_timestamp_seconds", "When the source of the key ring last confirmed it, in Unix time.", nil, ring},
		{"ring_key_age_seconds", "Age of each key of the ring that is not destroyed, by key and state.", []string{"kid", "state"}, ring},

		{"relay_rows_total", "Rows of the outbox that this process's relay has looked at, by what became of them.", []string{"result"}, moved},
		{"relay_tasks_restored_total", "Tasks that Redis had lost, and that this process's relay restored from the outbox.", nil, moved},
		{"relay_queue_held", "Whether the queue's rows stay in the outbox for now, because it is full or takes no tasks: 1, else 0.", []string{"queue"}, moved},
		{"outbox_rows", "Unfinished rows of the outbox, by kind and state. Every process counts the same.", []string{"kind", "state"}, moved},
		{"outbox_oldest_seconds", "For how long the first row of the kind and state has been due; 0 if none is.", []string{"kind", "state"}, moved},
		{"outbox_counted_timestamp_seconds", "When the outbox was last counted, in Unix time.", nil, moved},

		{"quarantine_entries", "Refused tasks in quarantine, by class. Every process counts the same.", []string{"class"}, kept},
		{"quarantine_bytes", "What they are charged, by class.", []string{"class"}, kept},
		{"quarantine_budget_entries", "How many entries the class may have.", []string{"class"}, kept},
		{"quarantine_budget_bytes", "How much the class may be charged.", []string{"class"}, kept},
		{"quarantine_overflow_total", "Tasks that this process refused and did not keep, because their class filled its budget, by reason.", []string{"reason"}, func(r *Readings) bool { return r.from.Overflow != nil }},
	}
}
