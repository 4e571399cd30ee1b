package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Schedule is one schedule, as a watchdog sees it. Its name becomes a label: schedules are made by programs and by whoever
// administers the database, and by nobody else. Times that are zero have no sample.
type Schedule struct {
	Name        string
	Trouble     string // one of scheduler.Troubles, "" for none
	Missed      int64
	LastDue     time.Time
	LastStarted time.Time
	LastSuccess time.Time
	Unfinished  time.Time // since when a job of it is unfinished
}

// mostSchedules have series. More than that are a program's mistake, and no longer looked at one by one.
const mostSchedules = 1000

// troubles are scheduler's, which this package does not know.
func troubles() []string { return []string{"unusable", "overdue", "failing", "long"} }

func (s scrape) readSchedules() {
	if s.from.Schedules == nil {
		return
	}
	all := s.from.Schedules()
	for _, sch := range all[:min(len(all), mostSchedules)] {
		for _, trouble := range troubles() {
			s.gauge("schedule_trouble", boolean(sch.Trouble == trouble), sch.Name, trouble)
		}
		s.gauge("schedule_missed", float64(sch.Missed), sch.Name)
		unfinished := 0.0
		if !sch.Unfinished.IsZero() {
			unfinished = max(0, s.from.Now().Sub(sch.Unfinished).Seconds())
		}
		s.gauge("schedule_unfinished_seconds", unfinished, sch.Name)
		for name, at := range map[string]time.Time{
			"schedule_last_due_timestamp_seconds": sch.LastDue, "schedule_last_started_timestamp_seconds": sch.LastStarted,
			"schedule_last_success_timestamp_seconds": sch.LastSuccess,
		} {
			if !at.IsZero() {
				s.gauge(name, float64(at.UnixMilli())/1000, sch.Name)
			}
		}
	}
}

func scheduleFamilies() []family {
	watched := func(r *Readings) bool { return r.from.Schedules != nil }
	label := []string{"schedule"}
	return []family{
		{"schedule_trouble", "Whether the schedule is in that trouble: 1, else 0. Every scheduler says the same.", []string{"schedule", "trouble"}, watched},
		{"schedule_missed", "Due times of the schedule that came to nothing, since it is what it is.", label, watched},
		{"schedule_unfinished_seconds", "For how long a job of the schedule has been unfinished; 0 if none is.", label, watched},
		{"schedule_last_due_timestamp_seconds", "The last due time that became a tick, in Unix time.", label, watched},
		{"schedule_last_started_timestamp_seconds", "When the task of a tick was last signed for the queue, in Unix time.", label, watched},
		{"schedule_last_success_timestamp_seconds", "When a job of the schedule was last done, in Unix time.", label, watched},
	}
}

// Ticks measures the ticks that a scheduler makes. It is a prometheus.Collector, and safe for concurrent use.
type Ticks struct{ delays prometheus.Histogram }

// NewTicks makes a Ticks.
func NewTicks() *Ticks {
	return &Ticks{delays: prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: namespace, Name: "tick_delay_seconds", Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60, 600, 3600},
		Help: "How much later than it was to be made this process made a tick.",
	})}
}

// Made counts a tick, made so much later than it was to be.
func (t *Ticks) Made(delay time.Duration) { t.delays.Observe(delay.Seconds()) }

// Describe implements prometheus.Collector.
func (t *Ticks) Describe(ch chan<- *prometheus.Desc) { t.delays.Describe(ch) }

// Collect implements prometheus.Collector.
func (t *Ticks) Collect(ch chan<- prometheus.Metric) { t.delays.Collect(ch) }
