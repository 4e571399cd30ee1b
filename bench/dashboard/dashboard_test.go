package dashboard_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/sealq/sealq/dashboard"
	"github.com/sealq/sealq/jobs/rawtask"
)

// aim is what a page may take.
const aim = 100 * time.Millisecond

// setting is a number from the environment.
func setting(b *testing.B, name string, otherwise int) int {
	b.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		b.Fatalf("%s is %q, which is no number above 0", name, text)
	}
	return n
}

// BenchmarkDashboardTable prints how long each page takes, the slowest first.
func BenchmarkDashboardTable(b *testing.B) {
	requests := setting(b, "SEALQ_BENCH_REQUESTS", 30)
	for b.Loop() {
		f := newFixture(b, setting(b, "SEALQ_BENCH_TASKS", 1_000_000), setting(b, "SEALQ_BENCH_REFUSED", 100_000))
		began := time.Now()
		f.fill()
		fmt.Printf("\nfilled in %v\n", time.Since(began).Round(time.Second))
		f.start()
		var all []measured
		for _, target := range f.targets() {
			all = append(all, f.measure(target, requests))
		}
		slices.SortStableFunc(all, func(x, y measured) int { return int(y.median() - x.median()) })
		t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintf(t, "\n%d tasks in %d queues, %d refused, %d requests each\tmedian\tmax\tKB\t\n", f.tasks, queues, f.refused, requests)
		slow := 0
		for _, m := range all {
			mark := ""
			if m.median() > aim {
				mark = "too slow"
				slow++
			}
			fmt.Fprintf(t, "%s\t%v\t%v\t%d\t%s\n", m.target, m.median().Round(100*time.Microsecond), slices.Max(m.took).Round(100*time.Microsecond), m.size>>10, mark)
		}
		if err := t.Flush(); err != nil {
			b.Fatal(err)
		}
		fmt.Printf("%d of %d above %v by their median\n", slow, len(all), aim)
	}
}

type measured struct {
	target string
	took   []time.Duration
	size   int
}

func (m measured) median() time.Duration {
	return slices.Sorted(slices.Values(m.took))[len(m.took)/2]
}

// measure asks for a page again and again, after once that is not counted.
func (f *fixture) measure(target string, n int) measured {
	f.b.Helper()
	m := measured{target: short(target)}
	for i := range n + 1 {
		began := time.Now()
		size := f.get(target)
		if took := time.Since(began); i > 0 {
			m.took, m.size = append(m.took, took), size
		}
	}
	return m
}

func short(target string) string {
	path, query, _ := strings.Cut(target, "?")
	if values, err := url.ParseQuery(query); err == nil {
		for name := range values {
			if len(values.Get(name)) > 12 {
				values.Set(name, "…")
			}
		}
		if query, err = url.QueryUnescape(values.Encode()); err == nil && query != "" {
			return path + "?" + query
		}
	}
	return path
}

// get asks for one page, which must come.
func (f *fixture) get(target string) (size int) {
	f.b.Helper()
	r, err := http.NewRequestWithContext(f.b.Context(), http.MethodGet, f.address+target, nil)
	f.must(err)
	if target != "/login" { // where who is in is led on
		r.AddCookie(&http.Cookie{Name: "__Host-sealq", Value: token})
	}
	answer, err := f.client.Do(r)
	f.must(err)
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	f.must(err)
	if answer.StatusCode != http.StatusOK || answer.Request.URL.Path == "/login" && target != "/login" {
		f.b.Fatalf("%s answered %d: %.400s", target, answer.StatusCode, body)
	}
	return len(body)
}

// notAsked are the routes that are no pages, with why.
func notAsked() map[string]string {
	return map[string]string{
		"GET /live":          "a stream, which does not end",
		"GET /login/code":    "for who is half-way in",
		"GET /account/enrol": "the one who asks here is enrolled",
	}
}

// targets are all that is asked for: for each GET of the table of routes one address or more.
func (f *fixture) targets() []string {
	f.b.Helper()
	asked := map[string][]string{
		"GET /assets/{file}":    {"/assets/style.css"},
		"GET /login":            {"/login"},
		"GET /{$}":              {"/"},
		"GET /metrics":          {"/metrics"},
		"GET /runbooks/{name}":  {"/runbooks/rotation"},
		"GET /queue":            f.queuePages(),
		"GET /task":             f.taskPages(),
		"GET /find":             {"/find?id=" + strings.TrimSuffix(f.middle, ".1")},
		"GET /servers":          {"/servers"},
		"GET /quarantine":       {"/quarantine", "/quarantine?reason=bad_signature", "/quarantine?queue=" + queueName(3) + "&kind=mail%3Aconfirmation"},
		"GET /quarantine/entry": {"/quarantine/entry?id=" + f.entry},
		"GET /requests":         {"/requests"},
		"GET /audit":            {"/audit", "/audit?actor=operator%3Aann"},
		"GET /keys":             {"/keys"},
		"GET /schedules":        {"/schedules"},
		"GET /schedule":         {"/schedule?name=" + f.schedule},
		"GET /accounts":         {"/accounts", "/accounts?id=" + f.user},
		"GET /mails":            {"/mails"},
		"GET /mail":             {"/mail?id=" + f.mail},
		"GET /suppressions":     {"/suppressions"},
		"GET /account":          {"/account"},
		"GET /operators":        {"/operators"},
	}
	var all []string
	for _, pattern := range dashboard.Patterns() {
		if _, ok := notAsked()[pattern]; ok || !strings.HasPrefix(pattern, "GET ") {
			continue
		}
		targets, ok := asked[pattern]
		if !ok {
			f.b.Fatalf("%s is not asked for here: say by which address it is", pattern)
		}
		all = append(all, targets...)
	}
	return all
}

// queuePages are a queue in each of its states, and as far on as pages go.
func (f *fixture) queuePages() []string {
	var all []string
	for _, state := range []rawtask.State{rawtask.Pending, rawtask.Active, rawtask.Scheduled, rawtask.Retry, rawtask.Archived, rawtask.Completed} {
		all = append(all, fmt.Sprintf("/queue?name=%s&state=%s", queueName(0), state))
	}
	return append(all, fmt.Sprintf("/queue?name=%s&state=pending&from=%d", queueName(0), rawtask.MaxFrom))
}

// taskPages are the task in the middle of the longest list, where a search for it is longest, and one in a set.
func (f *fixture) taskPages() []string {
	page := func(id string) string {
		return "/task?" + url.Values{"queue": {queueName(0)}, "id": {id}}.Encode()
	}
	return []string{page(f.middle), page(f.later)}
}
