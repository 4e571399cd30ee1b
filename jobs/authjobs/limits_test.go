package authjobs_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sealq/sealq/jobs/authjobs"
)

// post is a deployment on a clock of its own, with its limits where a database would have them.
type post struct {
	limits authjobs.MailLimits
	now    time.Time
	lines  map[string]*authjobs.LimitLine
}

func newPost(limits authjobs.MailLimits) *post {
	return &post{limits: limits, now: time.Date(2026, 1, 1, 12, 0, 30, 0, time.UTC), lines: make(map[string]*authjobs.LimitLine)}
}

func (p *post) take(address string) *authjobs.LimitedError {
	for _, name := range p.limits.Lines(address) {
		if p.lines[name] == nil {
			p.lines[name] = &authjobs.LimitLine{Next: p.now, Tail: p.now}
		}
	}
	share, err := p.limits.Take(p.now, address, p.lines)
	if err == nil {
		p.use(authjobs.LimitHour, share.Hour)
		p.use(authjobs.LimitDay, share.Day)
	}
	return err
}

func (p *post) use(name string, slice time.Time) {
	if slice.IsZero() {
		return
	}
	usage := &p.lines[name].Usage
	if n := len(*usage); n > 0 && (*usage)[n-1].At.Equal(slice) {
		(*usage)[n-1].Taken++
		return
	}
	*usage = append(*usage, authjobs.MailUsage{At: slice, Taken: 1})
}

// due is a mail that comes back.
type due struct {
	at      time.Time
	address string
}

// drain sends mails that all come at once, each when it is told to come back, and says when each went and how often one was asked for.
func (p *post) drain(addresses []string) (sent map[string][]time.Time, claims int, busiest int) {
	queue := make([]due, len(addresses))
	for i, address := range addresses {
		queue[i] = due{p.now, address}
	}
	sent = make(map[string][]time.Time)
	seconds := make(map[int64]int)
	began := p.now
	for len(queue) > 0 {
		next := queue[0]
		queue = queue[1:]
		if next.at.After(p.now) {
			p.now = next.at
		}
		claims++
		if p.now.After(began) {
			seconds[p.now.Unix()]++
		}
		if err := p.take(next.address); err != nil {
			next.at = err.Until
			place, _ := slices.BinarySearchFunc(queue, next, func(a, b due) int { return a.at.Compare(b.at) })
			queue = slices.Insert(queue, place, next)
			continue
		}
		sent[next.address] = append(sent[next.address], p.now)
	}
	for _, n := range seconds {
		busiest = max(busiest, n)
	}
	return sent, claims, busiest
}

// most is the most of them in any window of that length.
func most(times []time.Time, window time.Duration) int {
	slices.SortFunc(times, time.Time.Compare)
	n, first := 0, 0
	for i := range times {
		for times[i].Sub(times[first]) >= window {
			first++
		}
		n = max(n, i-first+1)
	}
	return n
}

func many(n int, address string) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = address
	}
	return all
}

func all(sent map[string][]time.Time) (times []time.Time) {
	for _, t := range sent {
		times = append(times, t...)
	}
	return times
}

func TestTenThousandMailsToOneDomainComeBackOneAfterTheOtherAndOthersGoOn(t *testing.T) {
	t.Parallel()
	p := newPost(authjobs.MailLimits{PerDomain: authjobs.Rate{N: 100, Per: time.Minute}})
	mails := append(many(10_000, "ada@crowded.example"), "bob@other.example")
	began := p.now
	sent, claims, busiest := p.drain(mails)
	if got := sent["bob@other.example"]; len(got) != 1 || !got[0].Equal(began) {
		t.Errorf("another domain's mail went at %v", got)
	}
	crowd := sent["ada@crowded.example"]
	if n := most(crowd, time.Minute); len(crowd) != 10_000 || n > 110 {
		t.Errorf("%d went, %d in one minute", len(crowd), n)
	}
	if took := crowd[len(crowd)-1].Sub(began); took < 95*time.Minute || took > 130*time.Minute {
		t.Errorf("the last went after %v, at 100 a minute", took)
	}
	if busiest > 20 || claims > 40_000 {
		t.Errorf("up to %d came back in one second, and each %.1f times", busiest, float64(claims)/10_000)
	}
}

func TestTheCapsHoldInEveryHourAndEveryDay(t *testing.T) {
	t.Parallel()
	p := newPost(authjobs.MailLimits{Hourly: 100, Daily: 1000})
	var mails []string
	for n := range 1500 {
		mails = append(mails, fmt.Sprintf("user@%d.example", n))
	}
	began := p.now
	sent, claims, _ := p.drain(mails)
	times := all(sent)
	if hour, day := most(times, time.Hour), most(times, 24*time.Hour); hour != 100 || day != 1000 {
		t.Errorf("%d in an hour, %d in a day", hour, day)
	}
	if !times[99].Equal(began) {
		t.Errorf("the first hundred wait")
	}
	if last := times[len(times)-1].Sub(began); last > 31*time.Hour {
		t.Errorf("the last went after %v", last)
	}
	if claims > 50_000 {
		t.Errorf("%d claims for 1,500 mails", claims)
	}
}

func TestALimitThatRefusesTakesNothingOfTheOthers(t *testing.T) {
	t.Parallel()
	p := newPost(authjobs.MailLimits{PerDomain: authjobs.Rate{N: 10, Per: time.Minute}, Hourly: 2})
	for range 2 {
		if err := p.take("ada@a.example"); err == nil { // the second is over the domain's
			continue
		}
		before := *p.lines["domain/a.example"]
		if n := p.lines[authjobs.LimitHour].Usage[0].Taken; n != 1 {
			t.Errorf("the hour was charged %d", n)
		}
		p.now = p.now.Add(6 * time.Second)
		if err := p.take("ada@a.example"); err != nil {
			t.Errorf("six seconds later: %v", err)
		}
		p.now = p.now.Add(6 * time.Second)
		next := p.lines["domain/a.example"].Next
		err := p.take("ada@a.example")
		if err == nil || err.By != authjobs.HeldByHour || !p.lines["domain/a.example"].Next.Equal(next) || before.Next.After(next) {
			t.Errorf("over the cap: %v", err)
		}
		if due := time.Date(2026, 1, 1, 13, 1, 0, 0, time.UTC); err.Until.Before(due) || err.Until.After(due.Add(time.Hour)) {
			t.Errorf("it is due at %v", err.Until)
		}
		return
	}
	t.Error("nothing was limited")
}

func TestWithoutLimitsThereIsNothingToLock(t *testing.T) {
	t.Parallel()
	if l := (authjobs.MailLimits{}); !l.None() || len(l.Lines("ada@example.org")) > 0 {
		t.Error("zero values limit something")
	}
	for _, l := range []authjobs.MailLimits{{PerDomain: authjobs.Rate{N: 1, Per: time.Hour}}, {Hourly: 1}, {Daily: 1}} {
		if l.None() || len(l.Lines("ada@example.org")) != 1 {
			t.Errorf("%+v limits nothing", l)
		}
	}
}
