package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/metrics"
)

// newTally counts the auth kinds.
func newTally() *metrics.Tally {
	var kinds []jobs.Kind
	for _, d := range authjobs.Definitions() {
		kinds = append(kinds, d.Kind())
	}
	return metrics.NewTally(metrics.TallyConfig{Kinds: kinds})
}

// metrics is what /metrics shows of a service that is open. The registry is the process's own: nobody else registers there.
func (s *session) metrics(sv *service) (http.Handler, error) {
	registry, err := s.registry(sv)
	if err != nil {
		return nil, err
	}
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, ErrorLog: slog.NewLogLogger(s.logger.Handler(), slog.LevelError),
	}), nil
}

func (s *session) registry(sv *service) (*prometheus.Registry, error) {
	all, err := s.collectors(sv)
	if err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	all = append(all, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, c := range all {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return registry, nil
}

// collectors are sealq's own.
func (s *session) collectors(sv *service) ([]prometheus.Collector, error) {
	sources := sv.sources
	sources.Now = s.now
	sources.Dependencies = make(map[string]func(context.Context) error)
	for _, check := range sv.checks {
		sources.Dependencies[check.Name] = check.Probe
	}
	if sv.agreement != nil {
		sources.Alarms["ring_disagreement"] = sv.agreement
	}
	readings, err := metrics.NewReadings(sources)
	if err != nil {
		return nil, err
	}
	sv.closes(readings.Close)
	all := []prometheus.Collector{readings, buildInfo()}
	if sources.Relay != nil { // who signs and verifies nothing has nothing to count
		all = append(all, sv.tally)
	}
	if sv.ticks != nil {
		all = append(all, sv.ticks)
	}
	return all, nil
}

// buildInfo is always 1; its labels tell.
func buildInfo() prometheus.Collector {
	b := buildOf(debug.ReadBuildInfo())
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "sealq_build_info", Help: "Which sealq this is, built by which Go. Always 1.",
		ConstLabels: prometheus.Labels{"version": b.Version, "goversion": runtime.Version()},
	}, func() float64 { return 1 })
}
