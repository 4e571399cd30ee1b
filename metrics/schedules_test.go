package metrics_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealq/sealq/metrics"
)

func TestSchedulesAndTicksAreShown(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	readings, err := metrics.NewReadings(metrics.Sources{Now: func() time.Time { return now }, Schedules: func() []metrics.Schedule {
		return []metrics.Schedule{
			{Name: "fresh"},
			{Name: "sweep", Trouble: "failing", Missed: 3, LastDue: now.Add(-60 * time.Second), LastStarted: now.Add(-59 * time.Second), LastSuccess: now.Add(-time.Hour), Unfinished: now.Add(-58 * time.Second)},
		}
	}})
	check(t, err)
	t.Cleanup(func() { check(t, readings.Close()) })
	ticks := metrics.NewTicks()
	ticks.Made(30 * time.Millisecond)
	registry := prometheus.NewRegistry()
	check(t, registry.Register(readings))
	check(t, registry.Register(ticks))
	at := float64(now.Unix())
	want := map[string]float64{
		`sealq_schedule_trouble{schedule="fresh",trouble="unusable"}`: 0, `sealq_schedule_trouble{schedule="fresh",trouble="overdue"}`: 0,
		`sealq_schedule_trouble{schedule="fresh",trouble="failing"}`: 0, `sealq_schedule_trouble{schedule="fresh",trouble="long"}`: 0,
		`sealq_schedule_trouble{schedule="sweep",trouble="unusable"}`: 0, `sealq_schedule_trouble{schedule="sweep",trouble="overdue"}`: 0,
		`sealq_schedule_trouble{schedule="sweep",trouble="failing"}`: 1, `sealq_schedule_trouble{schedule="sweep",trouble="long"}`: 0,
		`sealq_schedule_missed{schedule="fresh"}`: 0, `sealq_schedule_missed{schedule="sweep"}`: 3,
		`sealq_schedule_unfinished_seconds{schedule="fresh"}`: 0, `sealq_schedule_unfinished_seconds{schedule="sweep"}`: 58,
		`sealq_schedule_last_due_timestamp_seconds{schedule="sweep"}`:     at - 60,
		`sealq_schedule_last_started_timestamp_seconds{schedule="sweep"}`: at - 59,
		`sealq_schedule_last_success_timestamp_seconds{schedule="sweep"}`: at - 3600,
		`sealq_tick_delay_seconds`:                                        1,
	}
	if diff := cmp.Diff(want, samples(t, registry)); diff != "" {
		t.Errorf("series (-want +got):\n%s", diff)
	}
}
