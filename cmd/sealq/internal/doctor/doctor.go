// Package doctor looks at everything that sealq depends on, and says of each what is wrong and what to do: connections, versions,
// clocks, rights that are too wide or too narrow, the key ring, what lies in the queues, the outbox, schedules, the audit log, the
// mail path.
//
// It changes nothing: what it sends to Redis and databases reads, or has no effect, and no mail is sent. It decodes no task's payload
// and shows no secret. One server that hangs or is away hides nothing of the others, and every check has its own bounded time.
package doctor

import (
	"context"
	"sync"
	"time"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/cmd/sealq/internal/redisurl"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/signing"
)

// Status is what a check comes to.
type Status string

// The statuses. Only a Problem makes the exit code 1.
const (
	OK      Status = "ok"
	Warning Status = "warning" // it works, and something is not as it should be
	Problem Status = "problem" // something does not work, or will not for long
	Skipped Status = "skipped" // it was not looked at; the message says why
)

// Finding is one line: what a check found. Message and Advice are one sentence each, for people; Advice is empty where there is
// nothing to do.
type Finding struct {
	Group   string `json:"group"` // what it depends on: redis, queues, database, keys, mail
	Check   string `json:"check"`
	Subject string `json:"subject"` // of several that one check looks at: a queue, a schedule; else ""
	Status  Status `json:"status"`
	Message string `json:"message"`
	Advice  string `json:"advice"`
	// Trouble is in a word which of several things a check can find, for whoever words it himself; "" where it finds one thing.
	Trouble string `json:"-"`
}

// Report is the whole answer.
type Report struct {
	OK       bool      `json:"ok"` // there is no problem
	Problems int       `json:"problems"`
	Warnings int       `json:"warnings"`
	Skipped  int       `json:"skipped"`
	Checks   []Finding `json:"checks"`
}

// Config says where to look. What is nil was not named, and is skipped.
type Config struct {
	Redis    *Redis
	Database *Database
	Keys     *Keys
	Mail     *Mail
	// Queues are those that workers are to serve.
	Queues []string
	// Budgets of the quarantine. Zero fields: quarantine.DefaultBudgets.
	Budgets quarantine.Budgets
	// Now is the host's clock. Zero: time.Now.
	Now func() time.Time
	// Reach and Look bound connecting, and each of the other checks. Zero: 4 s, 7 s.
	Reach, Look time.Duration
}

// Redis of the queues.
type Redis struct {
	redisurl.Server

	// Given is false for the default address: nobody has said that there is a Redis.
	Given bool
}

// Database of outbox, quarantine and the rest.
type Database struct {
	Where  string // for people: no credentials
	SQLite bool
	// Open connects, and does not migrate.
	Open func(ctx context.Context) (app.Database, error)
}

// Keys are the key ring's place.
type Keys struct {
	// Source of the ring. Nil: it is in the database, under the key in KEKFile.
	Source  signing.Source
	KEKFile string
	// Given is false for the default place.
	Given bool
	// Audience is "" where none was given.
	Audience string
	// RotateEvery is how old an active key may become.
	RotateEvery time.Duration
}

// Mail is the way out.
type Mail struct {
	Sender *mail.Sender
	Where  string // for people: no credentials
	TLS    mail.TLSMode
	Local  bool // on this machine
}

const (
	defaultReach = 4 * time.Second
	defaultLook  = 7 * time.Second
)

// check looks at one thing.
type check struct {
	group, name string
	needs       need
	run         func(ctx context.Context, e *env) []Finding
}

// need is what a check cannot do without.
type need int

const (
	nothing  need = iota
	queue         // a Redis that answers
	database      // a database that answers
	tables        // … and is up to date
)

// Run makes all checks and returns in a time that is bounded by Config.Reach and Config.Look.
func Run(ctx context.Context, c Config) Report {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Reach <= 0 {
		c.Reach = defaultReach
	}
	if c.Look <= 0 {
		c.Look = defaultLook
	}
	e := &env{Config: c}
	defer e.close()
	reached := e.reach(ctx)
	checks := c.checks()
	found := make([][]Finding, len(checks))
	var running sync.WaitGroup
	for i, ch := range checks {
		running.Go(func() { found[i] = e.make(ctx, ch) })
	}
	running.Wait()
	var all []Finding
	for i, ch := range checks {
		all = append(all, reached[ch.group]...)
		delete(reached, ch.group)
		all = append(all, found[i]...)
	}
	return newReport(all)
}

func newReport(findings []Finding) Report {
	r := Report{Checks: findings}
	if findings == nil {
		r.Checks = []Finding{}
	}
	for _, f := range findings {
		switch f.Status {
		case Problem:
			r.Problems++
		case Warning:
			r.Warnings++
		case Skipped:
			r.Skipped++
		case OK:
		}
	}
	r.OK = r.Problems == 0
	return r
}

// checks are those of what is configured, in the order in which they are shown.
func (c Config) checks() []check {
	all := redisChecks()
	all = append(all, queueChecks()...)
	all = append(all, databaseChecks()...)
	all = append(all, outboxChecks()...)
	all = append(all, keyChecks()...)
	return append(all, mailChecks()...)
}

// make makes one check within its time.
func (e *env) make(ctx context.Context, ch check) []Finding {
	if why := e.lacks(ch.needs); why != "" {
		return []Finding{{Group: ch.group, Check: ch.name, Status: Skipped, Message: why}}
	}
	ctx, cancel := context.WithTimeout(ctx, e.Look)
	defer cancel()
	findings := ch.run(ctx, e)
	for i := range findings {
		findings[i].Group, findings[i].Check = ch.group, ch.name
	}
	return findings
}
