package postgres_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/jobs/sweep"
	"github.com/sealq/sealq/store/postgres"
)

// What runs every few milliseconds, and what sweeps large tables, must not read them whole. A partial index is used only
// where PostgreSQL can prove that the statement's condition implies its own: a change of either may lose it.
func TestFrequentStatementsUseTheirIndexes(t *testing.T) {
	t.Parallel()
	_, raw := open(t)
	for _, fill := range []string{
		`INSERT INTO outbox (id, kind, queue, payload, headers, retries, state, not_before, next_at, expires_at, ended_at)
		 SELECT gen_random_uuid(), CASE n % 3 WHEN 0 THEN 'k' ELSE 'mail:confirmation' END, 'q', convert_to('{"pending_id":"' || gen_random_uuid() || '","generation":1}', 'UTF8'), '[]', 1, CASE n % 10 WHEN 0 THEN 'queued' WHEN 1 THEN 'enqueued' ELSE 'done' END,
		        now(), now() + n * interval '1 s' - interval '1 h', now() + n * interval '1 s', CASE WHEN n % 10 > 1 THEN now() END
		 FROM generate_series(1, 20000) n`,
		`INSERT INTO pending_users (id, email_norm, email, password_hash, nonce, generation, expires_at, kid, key_hash)
		 SELECT gen_random_uuid(), n::text, '', '', '0123456789abcdef', 1, now() + n * interval '1 s' - interval '10 min',
		        CASE WHEN n % 2 = 0 THEN 'kid ' || n % 100 END, CASE WHEN n % 2 = 0 THEN sha256(n::text::bytea) END
		 FROM generate_series(1, 20000) n`,
		`INSERT INTO login_state (email_norm, failed_attempts, locked_until, attempted_on)
		 SELECT n::text, 1, CASE WHEN n % 100 = 0 THEN now() + (n - 1000) * interval '1 s' END, current_date - n / 1000 FROM generate_series(1, 20000) n`,
		`INSERT INTO users (id, email_norm, email, password_hash) SELECT gen_random_uuid(), n::text, '', '' FROM generate_series(1, 20000) n`,
		`INSERT INTO user_tokens (user_id, purpose, new_email, new_email_norm, nonce, generation, asked_at, expires_at, kid, key_hash)
		 SELECT id, 'password_reset', '', '', '0123456789abcdef', 1, now(), now() + email_norm::int * interval '1 s' - interval '10 min',
		        CASE WHEN email_norm::int % 2 = 0 THEN 'kid ' || email_norm::int % 100 END, CASE WHEN email_norm::int % 2 = 0 THEN sha256(email_norm::bytea) END
		 FROM users`,
		`INSERT INTO owner_requests (email_norm, mail, id, asked_at, expires_at)
		 SELECT n::text, 'm', gen_random_uuid(), now(), now() + n * interval '1 s' - interval '10 min' FROM generate_series(1, 20000) n`,
		`INSERT INTO login_devices (token_hash, user_id, expires_at) SELECT sha256(email_norm::bytea), id, now() + interval '1 h' FROM users`,
		`INSERT INTO mails (id, pending_id, generation, message_id, created_at) SELECT gen_random_uuid()::text, gen_random_uuid(), 1, n::text, now() + n * interval '1 s' FROM generate_series(1, 20000) n`,
		`INSERT INTO mail_attempts (mail, try, started_at, ended_at, server, stage, outcome, smtp_code, smtp_reply, cause) SELECT id, 1, now(), now(), '', '', 'o', 0, '', '' FROM mails`,
		`INSERT INTO schedules (name, cron, anchor, last_due_at) SELECT n::text, '', now(), now() FROM generate_series(1, 10) n`,
		`INSERT INTO ticks (schedule, due_at, row_id, outcome) SELECT name, now() + n * interval '1 s', gen_random_uuid(), 'done' FROM schedules, generate_series(1, 2000) n`,
		`INSERT INTO quarantine (id, task_id, queue, kind, headers, max_retry, payload, size, payload_sha256, reason, kid, detail, authentic, row_id, attempt, received_at)
		 SELECT n::text, gen_random_uuid() || '.1', 'q', 'k', '[]', 1, '', 0, sha256(''), 'r', '', '', false, CASE n % 10 WHEN 0 THEN gen_random_uuid()::text ELSE '' END, 0, now()
		 FROM generate_series(1, 20000) n`,
		`ANALYZE`,
	} {
		exec(t, raw, fill)
	}
	for _, test := range []struct{ name, sql, args, index, table string }{
		{"claim", postgres.ClaimRowsSQL, "(20, '30 s', 'token', '{k,l}', '{full}')", "outbox_lanes", "outbox"},
		{"claim, the rows", postgres.ClaimRowsSQL, "(20, '30 s', 'token', '{k,l}', '{full}')", "outbox_pkey", "outbox"},
		{"mark as enqueued", postgres.RowsEnqueuedSQL, "('{00000000-0000-0000-0000-000000000000}', '{token}', '{kid}')", "outbox_pkey", "outbox"},
		{"overdue", postgres.OverdueRowsSQL, "('2 min', 20)", "outbox_enqueued", "outbox"},
		{"expire rows that wait", postgres.ExpireRowsSQL, "('2 min', 20)", "outbox_lanes", "outbox"},
		{"expire rows that are enqueued", postgres.ExpireRowsSQL, "('2 min', 20)", "outbox_enqueued", "outbox"},
		{"expire rows, end them", postgres.ExpireRowsSQL, "('2 min', 20)", "outbox_pkey", "outbox"},
		{"count by kind what waits", postgres.OutboxBacklogSQL, "", "outbox_lanes", "outbox"},
		{"count what waits", postgres.OutboxDepthSQL, "", "outbox_lanes", "outbox"},
		{"count what is enqueued", postgres.OutboxDepthSQL, "", "outbox_enqueued", "outbox"},
		{"expire registrations", postgres.SweepSQL(sweep.Registrations, "from"), "(20, now(), '-infinity')", "pending_users_expiry", "pending_users"},
		{"expire registrations that were held", postgres.SweepSQL(sweep.Registrations, "held"), "(20, now(), ARRAY[now()])", "pending_users_expiry", "pending_users"},
		{"expire requests", postgres.SweepSQL(sweep.Requests, "from"), "(20, now(), '-infinity')", "owner_requests_expiry", "owner_requests"},
		{"purge tokens", postgres.SweepSQL(sweep.Tokens, "from"), "(20, now(), '-infinity')", "user_tokens_expiry", "user_tokens"},
		{"purge jobs", postgres.SweepSQL(sweep.Jobs, "from"), "(20, now(), '00000000-0000-0000-0000-000000000000', '00000000-0000-0000-0000-000000000001')", "outbox_pkey", "outbox"},
		{"renew registrations", postgres.PendingOfKeySQL, "('kid 4', 20)", "pending_users_kid", "pending_users"},
		{"count rows that need a key", postgres.RowsNeedingKeySQL, "('kid 4')", "pending_users_kid", "pending_users"},
		{"count tokens that need a key", postgres.RowsNeedingKeySQL, "('kid 4')", "user_tokens_kid", "user_tokens"},
		{"renew links", postgres.LinksOfKeySQL, "('kid 4', 20)", "user_tokens_kid", "user_tokens"},
		{"renew links, their users", postgres.LinksOfKeySQL, "('kid 4', 20)", "users_pkey", "users"},
		{"lift lockouts", postgres.SweepSQL(sweep.Lockouts, "from"), "(20, '-infinity')", "login_state_locked", "login_state"},
		{"lift lockouts that were held", postgres.SweepSQL(sweep.Lockouts, "held"), "(20, ARRAY[now()])", "login_state_locked", "login_state"},
		{"lift lockouts with their users", postgres.LiftOwnedSQL(), "(20, '-infinity')", "users_email_norm_key", "users"},
		{"forget attempts", postgres.ForgetAttemptsSQL, "(20, '30 days')", "login_state_attempted", "login_state"},
		{"forget attempts, delete them", postgres.ForgetAttemptsSQL, "(20, '30 days')", "login_state_pkey", "login_state"},
		{"list recent mails", postgres.RecentMailsSQL, "(300)", "mails_made", "mails"},
		{"list recent mails, their rows", postgres.RecentMailsSQL, "(300)", "outbox_pkey", "outbox"},
		{"list recent mails, their tries", postgres.RecentMailsSQL, "(300)", "mail_attempts_pkey", "mail_attempts"},
		{"count mails that wait", postgres.MailBacklogSQL, "(20)", "outbox_lanes", "outbox"},
		{"count mails that are enqueued", postgres.MailBacklogSQL, "(20)", "outbox_enqueued", "outbox"},
		{"list ticks", postgres.TickHistorySQL, "('7', 100)", "ticks_pkey", "ticks"},
		{"list ticks, their rows", postgres.TickHistorySQL, "('7', 100)", "outbox_pkey", "outbox"},
		{"list what was refused of a row", postgres.RefusedOfSQL, "('00000000-0000-0000-0000-000000000000', 5)", "quarantine_row", "quarantine"},
		{"list what was refused under a row's name", postgres.RefusedOfSQL, "('00000000-0000-0000-0000-000000000000', 5)", "quarantine_task", "quarantine"},
		{"mails of an account", postgres.MailsOfSQL, "('00000000-0000-0000-0000-000000000000', 20)", "outbox_account ", "outbox"},
		{"mails of an account that were written otherwise", postgres.MailsOfSQL, "('00000000-0000-0000-0000-000000000000', 20)", "outbox_account_odd", "outbox"},
		{"requests by an address", postgres.RequestsOfSQL, "('7', 20)", "outbox_request", "outbox"},
		{"charge a device", postgres.ChargeDeviceSQL, "('7', 5, '1 min', '0', sha256('7'))", "login_devices_pkey", "login_devices"},
	} {
		for _, mode := range []string{"force_generic_plan", "force_custom_plan"} {
			t.Run(test.name+" "+mode, func(t *testing.T) {
				t.Parallel()
				var lines []string
				err := pgx.BeginFunc(t.Context(), raw, func(tx pgx.Tx) error {
					for _, statement := range []string{"SET LOCAL plan_cache_mode = " + mode, "DEALLOCATE ALL", "PREPARE probe AS " + test.sql} {
						if _, err := tx.Exec(t.Context(), statement); err != nil {
							return err
						}
					}
					rows, err := tx.Query(t.Context(), "EXPLAIN EXECUTE probe"+test.args, pgx.QueryExecModeSimpleProtocol)
					if err != nil {
						return err
					}
					lines, err = pgx.CollectRows(rows, pgx.RowTo[string])
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
				plan := strings.Join(lines, "\n")
				if !strings.Contains(plan, test.index) || strings.Contains(plan, "Seq Scan on "+test.table) {
					t.Errorf("want %s, and no scan of the whole table, got\n%s", test.index, plan)
				}
			})
		}
	}
}
