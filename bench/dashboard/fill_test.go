package dashboard_test

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/scheduler"
)

// fill puts everything where the dashboard looks.
func (f *fixture) fill() {
	f.b.Helper()
	f.fillRedis()
	f.fillDatabase()
	f.letIn()
}

// fillRedis enqueues genuine tasks, and then moves some of each queue to where a worker would have brought them: of a thousand 800 wait,
// 80 are scheduled, 60 wait for another try, 20 are archived (asynq keeps 10,000 at most), 38 completed and 2 active.
func (f *fixture) fillRedis() {
	f.b.Helper()
	client := jobs.NewAsynqClient(f.redis)
	defer func() { _ = client.Close() }()
	enqueuer, err := jobs.NewEnqueuer(client, f.keys, jobs.Config{})
	f.must(err)
	def := authjobs.MailConfirmation()
	var next atomic.Int64
	var g errgroup.Group
	for range 64 {
		g.Go(func() error {
			for i := int(next.Add(1)) - 1; i < f.tasks; i = int(next.Add(1)) - 1 {
				opts := []jobs.Option{jobs.Queue(queueName(i % queues)), jobs.ID(fmt.Sprintf("018f0000-0000-7000-9000-%012d.1", i))}
				if i/queues%1000 >= 800 {
					opts = append(opts, jobs.In(time.Hour+time.Duration(i)*time.Millisecond))
				}
				if _, err := enqueuer.Enqueue(f.b.Context(), def.With(authjobs.Confirmation{PendingID: fmt.Sprintf("018f0000-0000-7000-8000-%012d", i), Generation: 1}, opts...)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	f.must(g.Wait())
	for i := range queues {
		per := f.tasks / queues
		prefix := "asynq:{" + queueName(i) + "}:"
		for state, thousandths := range map[string]int{"retry": 60, "archived": 20, "completed": 38, "active": 2} {
			from := prefix + "scheduled"
			f.must(moveTasks.Run(f.b.Context(), f.redis, []string{from, prefix + state}, prefix, state, min(per*thousandths/1000, 10_000), time.Now().Unix()).Err())
		}
	}
	key := "asynq:{" + queueName(0) + "}:"
	f.middle, err = f.redis.LIndex(f.b.Context(), key+"pending", f.redis.LLen(f.b.Context(), key+"pending").Val()/2).Result()
	f.must(err)
	later, err := f.redis.ZRange(f.b.Context(), key+"scheduled", 10, 10).Result()
	f.must(err)
	f.later = later[0]
	f.history()
}

// moveTasks moves tasks from a sorted set to another, or to the active ones.
var moveTasks = redis.NewScript(`
local ids = redis.call('ZRANGE', KEYS[1], 0, ARGV[3] - 1)
for _, id in ipairs(ids) do
	redis.call('ZREM', KEYS[1], id)
	redis.call('HSET', ARGV[1] .. 't:' .. id, 'state', ARGV[2])
	if ARGV[2] == 'active' then
		redis.call('LPUSH', KEYS[2], id)
		redis.call('ZADD', ARGV[1] .. 'lease', ARGV[4] + 86400, id)
	else
		redis.call('ZADD', KEYS[2], ARGV[4] + 86400, id)
	end
end
return #ids`)

// history is what asynq counts by day, for as long as it keeps that.
func (f *fixture) history() {
	f.b.Helper()
	pipe := f.redis.Pipeline()
	for i := range queues {
		prefix := "asynq:{" + queueName(i) + "}:"
		for day := range 90 {
			date := time.Now().UTC().AddDate(0, 0, -day).Format("2006-01-02")
			pipe.Set(f.b.Context(), prefix+"processed:"+date, 10_000+day*100, 0)
			pipe.Set(f.b.Context(), prefix+"failed:"+date, 100+day, 0)
		}
	}
	_, err := pipe.Exec(f.b.Context())
	f.must(err)
}

// fillDatabase makes users, the jobs of so many days with their mails, refused tasks, ticks, and the audit log.
func (f *fixture) fillDatabase() {
	f.b.Helper()
	n := f.tasks / 10
	f.sql(`INSERT INTO users (id, email, email_norm, password_hash) SELECT ('018f0000-0000-7000-8000-' || lpad(i::text, 12, '0'))::uuid, i || '@example.org', i || '@example.org', 'none' FROM `+series, n)
	f.sql(`INSERT INTO pending_users (id, email_norm, email, password_hash, nonce, generation, expires_at)
		SELECT ('018f0000-0000-7000-8000-' || lpad(i::text, 12, '0'))::uuid, 'p' || i || '@example.org', 'p' || i || '@example.org', 'none', sha256(i::text::bytea), 1, now() + interval '1 day' FROM `+series, n)
	f.sql(`INSERT INTO outbox (id, kind, queue, payload, headers, retries, state, not_before, next_at, expires_at, created_at, ended_at)
		SELECT ('018f0000-0000-7000-9000-' || lpad(i::text, 12, '0'))::uuid, 'mail:confirmation', 'queue' || lpad((i % 20)::text, 2, '0'),
			convert_to('{"pending_id":"018f0000-0000-7000-8000-' || lpad(i::text, 12, '0') || '","generation":1}', 'UTF8'), '[]', 12,
			CASE WHEN i % 10 < 3 THEN 'enqueued' WHEN i % 1000 = 3 THEN 'dead' WHEN i % 100 = 4 THEN 'queued' ELSE 'done' END, t, t, t + interval '30 days', t,
			CASE WHEN i % 10 < 3 OR i % 1000 <> 3 AND i % 100 = 4 THEN NULL ELSE t + interval '1 second' END
		FROM (SELECT i, now() - i * interval '1 second' AS t FROM `+series+`) AS made`, f.tasks)
	f.sql(`INSERT INTO mails (id, pending_id, generation, message_id, created_at, tries, smtp_code, smtp_reply, sent_at)
		SELECT '018f0000-0000-7000-9000-' || lpad(i::text, 12, '0'), ('018f0000-0000-7000-8000-' || lpad(i::text, 12, '0'))::uuid, 1, i || '@example.org', now() - i * interval '1 second', 1, 250, 'ok', now() - i * interval '1 second'
		FROM `+series, n)
	f.sql(`INSERT INTO mail_attempts SELECT id, 1, created_at, created_at, 'mail.example.org', '', 'delivered', 250, '2.0.0 ok', '' FROM mails`)
	f.sql(`INSERT INTO suppressions (email_norm, reason, smtp_code, smtp_reply, mail, suppressed_at)
		SELECT 's' || i || '@example.org', 'permanent', 550, '5.1.1 no such user', '', now() - i * interval '1 minute' FROM `+series, n/10)
	f.sql(`INSERT INTO quarantine (id, task_id, queue, kind, headers, max_retry, payload, size, payload_sha256, reason, kid, detail, authentic, row_id, attempt, received_at, charged, class)
		SELECT gen_random_uuid()::text, 'forged' || i, 'queue' || lpad((i % 20)::text, 2, '0'), 'mail:confirmation', '[]', 25, convert_to(repeat('x', 256), 'UTF8'), 256,
			sha256('x'), (ARRAY['missing_signature', 'bad_signature', 'unknown_key', 'malformed'])[1 + i % 4], '', 'it does not verify', false, '', 0,
			now() - i * interval '1 second', 512, 'unverified' FROM `+series, f.refused)
	f.sql(`INSERT INTO audit_log (actor, action, subject, detail) SELECT 'operator:ann', 'task.run', 'task/queue00/' || i, '{}' FROM `+series, n/5)
	for {
		linked, err := f.db.ChainAudit(f.b.Context(), 1000)
		f.must(err)
		if linked == 0 {
			break
		}
	}
	f.schedules()
	f.sql(`VACUUM ANALYZE`)
	f.must(f.pool.QueryRow(f.b.Context(), `SELECT id FROM quarantine ORDER BY received_at LIMIT 1 OFFSET 1000`).Scan(&f.entry))
	f.user, f.mail = fmt.Sprintf("018f0000-0000-7000-8000-%012d", n/2), fmt.Sprintf("018f0000-0000-7000-9000-%012d", n/2)
}

// series numbers rows from 1 to the first argument.
const series = `generate_series(1, $1::int) AS i`

// schedules are a hundred, each with a thousand ticks.
func (f *fixture) schedules() {
	f.b.Helper()
	p := jobs.Placement{Actor: "bench"}
	for i := range 100 {
		sch := scheduler.Schedule{Name: fmt.Sprintf("s%03d", i), Cron: "@every 1m", Kind: authjobs.KindExpirePending}
		p.Plans = append(p.Plans, sch.Plan())
	}
	f.must(f.db.PlaceSchedules(f.b.Context(), p))
	f.sql(`INSERT INTO ticks (schedule, due_at, row_id, started_at, finished_at, outcome)
		SELECT name, now() - i * interval '1 minute', gen_random_uuid(), now() - i * interval '1 minute', now() - i * interval '1 minute', 'done'
		FROM schedules, generate_series(1, 1000) AS i`)
	f.schedule = "s050"
}
