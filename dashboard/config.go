package dashboard

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/jobs/judge"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/jobs/rawtask"
	"github.com/sealq/sealq/operators"
	"github.com/sealq/sealq/requests"
)

// Judge says what a worker would say of a task: see [judge.Judge], which holds the keys that the dashboard must not have.
type Judge interface {
	Judge(ctx context.Context, f rawtask.Found) (judge.Verdict, error)
}

// Records are what the pages ask of the database beyond the operators. Drivers implement it, and the binary for one transaction each.
type Records interface {
	// RefusedGroups counts what stands in quarantine and was not released, by queue and reason, the most numerous first.
	RefusedGroups(ctx context.Context, limit int) ([]jobs.RefusedGroup, error)
	// RowInfo says where an outbox row stands, or jobs.ErrNoSuchRow.
	RowInfo(ctx context.Context, id string) (jobs.RowInfo, error)
	// Record enters what an operator is about to do in the audit log.
	Record(ctx context.Context, e audit.Entry) error
	Refusals
	AuditLog
	// Desk is where what nobody may do here is asked for.
	requests.Desk
}

// Refusals are the refused tasks.
type Refusals interface {
	// RefusedPage lists entries, the newest first, without payloads.
	RefusedPage(ctx context.Context, q quarantine.Query, limit int) ([]jobs.Refused, error)
	// QuarantineShow reads one entry whole, or jobs.ErrNoSuchEntry.
	QuarantineShow(ctx context.Context, id string) (jobs.Refused, error)
	// QuarantineUsage says how full it is, and what found no room.
	QuarantineUsage(ctx context.Context) (quarantine.Usage, error)
	// MatchRefused counts what a purge would delete.
	MatchRefused(ctx context.Context, f quarantine.Filter) (quarantine.Purged, error)
	// OutboxPayload returns the arguments of an outbox row, to be compared with a refused task's, or jobs.ErrNoSuchRow.
	OutboxPayload(ctx context.Context, id string) ([]byte, error)
}

// AuditLog is who changed what, and the chain over it.
type AuditLog interface {
	audit.Chain
	// AuditPage lists entries, the newest first, linked or not.
	AuditPage(ctx context.Context, q audit.Query, limit int) ([]audit.Link, error)
}

// Inspector does to tasks and queues what can be done to them: [asynq.Inspector].
type Inspector interface {
	RunTask(queue, id string) error
	ArchiveTask(queue, id string) error
	DeleteTask(queue, id string) error
	CancelProcessing(id string) error
	PauseQueue(queue string) error
	UnpauseQueue(queue string) error
}

// Finding is what one look at the deployment came to, such as one of `sealq doctor`.
type Finding struct {
	Group, Check string // which check it was
	Subject      string // of several that it looks at: a queue, a schedule; else ""
	Trouble      string // in a word which of several things the check can find, such as paused or overdue; "" where it finds one thing
	Status       Status
	Message      string // a sentence
	Advice       string // what to do, "" where there is nothing
}

// Status is how grave a finding is.
type Status string

// The statuses.
const (
	Fine      Status = "fine"
	Warning   Status = "warning"    // it works, and something is not as it should be
	Problem   Status = "problem"    // something does not work, or will not for long
	NotLooked Status = "not looked" // it was not looked at; the message says why
)

// Config of a Dashboard.
type Config struct {
	// Operators let people in. Required.
	Operators *operators.Operators
	// Redis of the queues, which stays the caller's to close. Required.
	Redis redis.UniversalClient
	// Inspector acts on tasks. Required.
	Inspector Inspector
	// Records are the database's. Required.
	Records Records
	// Schedules are shown, run and paused. Zero: there is no such page.
	Schedules Schedules
	// Accounts are explained, locked and unlocked. Zero: there is no such page.
	Accounts Accounts
	// Mails are shown, and sent again. Zero: there is no such page.
	Mails Mails
	// MailLimits are those of the workers, shown beside what is used of them. Zero: they are not known here.
	MailLimits authjobs.MailLimits
	// Queues are shown even if Redis does not know them.
	Queues []string
	// Judge judges tasks. Zero: the pages say that they are not judged here.
	Judge Judge
	// Examine looks at what the deployment depends on, within the context's time. Zero: nobody does, and the page says so.
	Examine func(ctx context.Context) []Finding
	// ExamineEvery is how often, while somebody looks. Zero: 30 s.
	ExamineEvery time.Duration
	// Ring tells what may be known of the keys. Zero: the page of the keys says that nothing is known here.
	Ring func(ctx context.Context) (Ring, error)
	// Releases says of which kinds refused tasks can be released by a request: those whose arguments the workers know that carry requests
	// out. Zero: of all.
	Releases func(kind string) bool
	// PlainKind says of which kinds the arguments hold nothing that not everybody should read. Of the others the values are shown to
	// operators who ask for them, which is audited. Zero: of none.
	PlainKind func(kind string) bool
	// Runbooks are Markdown files. Zero: there are none to link to.
	Runbooks fs.FS
	// Metrics are shown at /metrics to whoever is let in. Zero: nothing is.
	Metrics http.Handler
	// Deployment is what the pages call it, such as its audience. Zero: nothing.
	Deployment string
	// ReadOnly refuses every change, whoever asks, but logging in, and the end of sessions and of keys for scripts.
	ReadOnly bool
	// LoginsPerMinute is how many logins and codes one address may try; of IPv6 64 bits are one. Zero: 30.
	LoginsPerMinute int
	// TrustedProxies are the networks of the proxies in front, whose X-Forwarded-For tells the address of whoever asks, once they have appended to it
	// what they saw. Zero: there are none, what the header says counts nothing, and behind a proxy all have one address.
	TrustedProxies []netip.Prefix
	// Now is the host's clock. Zero: time.Now.
	Now func() time.Time
	// Logger hears of what went wrong. Zero: nothing is logged.
	Logger *slog.Logger
}

func (c Config) complete() (Config, error) {
	if c.Operators == nil || c.Redis == nil || c.Inspector == nil || c.Records == nil {
		return c, errors.New("new dashboard: Operators, Redis, Inspector and Records are required")
	}
	if c.ExamineEvery <= 0 {
		c.ExamineEvery = 30 * time.Second
	}
	if c.Releases == nil {
		c.Releases = func(string) bool { return true }
	}
	if c.PlainKind == nil {
		c.PlainKind = func(string) bool { return false }
	}
	if c.LoginsPerMinute <= 0 {
		c.LoginsPerMinute = 30
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}
