package main

import (
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.yaml.in/yaml/v3"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/cmd/sealq/internal/health"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/metrics"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
	"github.com/sealq/sealq/worker/janitor"
)

// described are the metrics of a whole service: by name, their labels and help.
func described(t *testing.T) map[string]metricDoc {
	t.Helper()
	db, err := app.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "sealq.db"))
	check(t, err)
	t.Cleanup(func() { check(t, db.Close()) })
	ring, err := signing.NewRing(time.Now(), 720*time.Hour)
	check(t, err)
	file := signing.NewFile(filepath.Join(t.TempDir(), "keys.json"))
	check(t, file.Create(ring))
	keys, err := signing.OpenWith(t.Context(), file, "test", signing.Options{})
	check(t, err)
	t.Cleanup(keys.Close)
	sender, err := mail.NewSender(mail.Config{URL: "smtp://127.0.0.1:25?tls=none", From: "no-reply@example.com"})
	check(t, err)
	w, err := db.Worker(app.WorkerConfig{Redis: testservers.Redis(t).Client(t), Keys: keys, Sender: sender, BaseURL: "https://app.example"})
	check(t, err)

	sv := service{
		tally: newTally(), ticks: metrics.NewTicks(), sources: w.Sources(), agreement: func() error { return errors.New("another ring") },
		checks: []health.Check{{Name: "database", Probe: db.Ping}},
	}
	sv.sources.Schedules = func() []metrics.Schedule { return nil }
	s := &session{program: &program{now: time.Now}, logger: slog.New(slog.DiscardHandler)}
	all, err := s.collectors(&sv)
	check(t, err)
	t.Cleanup(func() { check(t, sv.closeAll()) })
	_, err = s.registry(&sv) // they get along in one
	check(t, err)

	found := make(map[string]metricDoc)
	for _, c := range all {
		descs := make(chan *prometheus.Desc, 100)
		c.Describe(descs)
		close(descs)
		for desc := range descs {
			parts := descPattern.FindStringSubmatch(desc.String())
			if parts == nil {
				t.Fatalf("%s is not understood", desc)
			}
			var labels []string
			for _, constant := range regexp.MustCompile(`([a-z_]+)="`).FindAllStringSubmatch(parts[3], -1) {
				labels = append(labels, constant[1])
			}
			labels = append(labels, strings.FieldsFunc(parts[4], func(r rune) bool { return r == ',' })...)
			slices.Sort(labels)
			found[parts[1]] = metricDoc{labels: strings.Join(labels, ","), help: parts[2]}
		}
	}
	return found
}

var descPattern = regexp.MustCompile(`^Desc\{fqName: "([^"]+)", help: "(.*?)"(?:, unit: "[^"]*")?, constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

type metricDoc struct{ labels, help string }

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func docsFile(t *testing.T, name ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{"..", "..", "docs"}, name...)...))
	check(t, err)
	return string(text)
}

// namedIn are the names of sealq's metrics in a text, histograms without what Prometheus puts behind them.
func namedIn(text string) []string {
	names := make(map[string]bool)
	for _, name := range regexp.MustCompile(`\bsealq_[a-z_]+\b`).FindAllString(text, -1) {
		if histogram := regexp.MustCompile(`^(.*_seconds)_(bucket|sum|count)$`).FindStringSubmatch(name); histogram != nil {
			name = histogram[1]
		}
		names[name] = true
	}
	return slices.Sorted(maps.Keys(names))
}

func TestTheDocsNameTheMetricsThatThereAre(t *testing.T) {
	t.Parallel()
	real, guide := described(t), docsFile(t, "monitoring.md")
	table := make(map[string]metricDoc)
	for _, row := range regexp.MustCompile("(?m)^\\| `(sealq_[a-z_]+)` \\| ([a-z]+) \\| ([^|]+) \\| ([^|]+) \\|$").FindAllStringSubmatch(guide, -1) {
		labels := strings.Split(strings.NewReplacer("`", "", " ", "", "–", "").Replace(row[3]), ",")
		slices.Sort(labels)
		table[row[1]] = metricDoc{labels: strings.Join(labels, ","), help: row[4]}
		want := "gauge"
		switch {
		case strings.HasSuffix(row[1], "_total"):
			want = "counter"
		case row[1] == "sealq_handler_duration_seconds", row[1] == "sealq_tick_delay_seconds":
			want = "histogram"
		}
		if row[2] != want {
			t.Errorf("%s is called a %s, not a %s", row[1], row[2], want)
		}
	}
	if diff := cmp.Diff(real, table, cmp.AllowUnexported(metricDoc{})); diff != "" {
		t.Errorf("metrics (-real +docs/monitoring.md):\n%s", diff)
	}
	for name, text := range map[string]string{
		"monitoring.md": guide, "alerts.yaml": docsFile(t, "monitoring", "alerts.yaml"), "grafana.json": docsFile(t, "monitoring", "grafana.json"),
	} {
		for _, metric := range namedIn(text) {
			if _, ok := real[metric]; !ok {
				t.Errorf("%s names %s, which there is not", name, metric)
			}
		}
	}
	shown := namedIn(docsFile(t, "monitoring", "grafana.json"))
	for metric := range real {
		if !slices.Contains(shown, metric) {
			t.Errorf("grafana.json does not show %s", metric)
		}
	}
}

// selectors are what stands in braces behind a metric's name, and the label that is compared there.
var selectors = regexp.MustCompile(`\b(sealq_[a-z_]+)\{([^}]*)\}`)

func TestEveryAlertIsOfMetricsThatThereAreAndSaysWhatToDo(t *testing.T) {
	t.Parallel()
	real, guide := described(t), docsFile(t, "monitoring.md")
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	check(t, yaml.Unmarshal([]byte(docsFile(t, "monitoring", "alerts.yaml")), &file))
	if len(file.Groups) != 1 || len(file.Groups[0].Rules) == 0 {
		t.Fatalf("there are %d groups", len(file.Groups))
	}
	headings := regexp.MustCompile(`(?m)^### (\S+)$`).FindAllStringSubmatch(guide, -1)
	var told, ruled []string
	for _, h := range headings {
		told = append(told, h[1])
	}
	for _, rule := range file.Groups[0].Rules {
		ruled = append(ruled, rule.Alert)
		if len(namedIn(rule.Expr)) == 0 || rule.Annotations["summary"] == "" || rule.Labels["severity"] == "" {
			t.Errorf("%s lacks a metric of ours, a summary or a severity", rule.Alert)
		}
		if _, err := time.ParseDuration(rule.For); err != nil {
			t.Errorf("%s: for: %v", rule.Alert, err)
		}
		if want := "https://github.com/sealq/sealq/blob/main/docs/monitoring.md#" + strings.ToLower(rule.Alert); rule.Annotations["runbook_url"] != want {
			t.Errorf("%s leads to %s, want %s", rule.Alert, rule.Annotations["runbook_url"], want)
		}
		if strings.Count(rule.Expr, "(") != strings.Count(rule.Expr, ")") || strings.Count(rule.Expr, "{") != strings.Count(rule.Expr, "}") {
			t.Errorf("%s: brackets do not match: %s", rule.Alert, rule.Expr)
		}
		for _, found := range selectors.FindAllStringSubmatch(rule.Expr, -1) {
			labels := strings.Split(real[strings.TrimSuffix(found[1], "_count")].labels, ",")
			for _, label := range regexp.MustCompile(`([a-z]+)(=|!)`).FindAllStringSubmatch(found[2], -1) {
				if !slices.Contains(labels, label[1]) {
					t.Errorf("%s: %s has no label %s", rule.Alert, found[1], label[1])
				}
			}
		}
	}
	if diff := cmp.Diff(ruled, told); diff != "" {
		t.Errorf("alerts (-alerts.yaml +docs/monitoring.md):\n%s", diff)
	}
}

// What alerts compare labels with are values that the labels can have.
func TestAlertsCompareWithValuesThatThereAre(t *testing.T) {
	t.Parallel()
	known := map[string][]string{
		"alarm": {"key_refusals", "ring_disagreement"}, "state": {"active", "queued"}, "result": {"expired"},
	}
	for _, reason := range signing.Reasons() {
		known["reason"] = append(known["reason"], string(reason))
	}
	for _, result := range worker.Results() {
		known["result"] = append(known["result"], string(result))
	}
	for _, cause := range worker.Causes() {
		known["cause"] = append(known["cause"], string(cause))
	}
	for _, what := range janitor.Whats() {
		known["what"] = append(known["what"], string(what))
	}
	for _, outcome := range authjobs.MailOutcomes() {
		known["outcome"] = append(known["outcome"], string(outcome))
	}
	found := 0
	for _, compared := range regexp.MustCompile(`([a-z]+)=~?\\"([^"\\]+)\\"`).FindAllStringSubmatch(docsFile(t, "monitoring", "alerts.yaml"), -1) {
		for value := range strings.SplitSeq(compared[2], "|") {
			found++
			if !slices.Contains(known[compared[1]], value) {
				t.Errorf("no %s is %q", compared[1], value)
			}
		}
	}
	if found < 10 {
		t.Errorf("%d values were found", found)
	}
}

// The dashboard is JSON that Grafana takes: panels with targets, each in its place.
func TestTheDashboardIsOne(t *testing.T) {
	t.Parallel()
	var dashboard struct {
		UID    string
		Panels []struct {
			ID      int
			Type    string
			Title   string
			Targets []struct{ Expr string }
		}
	}
	check(t, json.Unmarshal([]byte(docsFile(t, "monitoring", "grafana.json")), &dashboard))
	ids := make(map[int]bool)
	for _, p := range dashboard.Panels {
		if ids[p.ID] || p.Title == "" || (p.Type != "row") != (len(p.Targets) > 0) {
			t.Errorf("panel %d, %q: its ID is taken, or it has no title, or no targets", p.ID, p.Title)
		}
		ids[p.ID] = true
	}
	if dashboard.UID != "sealq" || len(ids) < 10 {
		t.Errorf("it is %q with %d panels", dashboard.UID, len(ids))
	}
}
