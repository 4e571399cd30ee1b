package janitor

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/jobs/rawtask"
	"github.com/sealq/sealq/signing"
)

// queue is one queue during a pass.
type queue struct {
	*Janitor
	name   string
	prefix string // of its keys
}

func (q queue) key(name string) string { return q.prefix + name }

// types deletes keys that hold another type than asynq expects: every command on them fails.
func (q queue) types(ctx context.Context) (bool, error) {
	today := q.cfg.Now().UTC().Format(time.DateOnly)
	want := [][2]string{
		{"pending", "list"},
		{"active", "list"},
		{"lease", "zset"},
		{"scheduled", "zset"},
		{"retry", "zset"},
		{"archived", "zset"},
		{"completed", "zset"},
		{"groups", "set"},
		{"aggregation_sets", "zset"},
		{"processed", "count"},
		{"failed", "count"},
		{"processed:" + today, "count"},
		{"failed:" + today, "count"},
	}
	keys, types := make([]string, len(want)), make([]any, len(want))
	for i, w := range want {
		keys[i], types[i] = q.key(w[0]), w[1]
	}
	n, err := q.scripts.dropWrongTypes.Run(ctx, q.redis, keys, types...).Int()
	if err != nil {
		return false, fmt.Errorf("look at the types of its keys: %w", err)
	}
	q.found(ctx, WrongType, q.name, n)
	return false, nil
}

func (q queue) pending(ctx context.Context) (bool, error) {
	return q.walk(ctx, NoTask, q.scripts.walkList, []string{q.key("pending")}, q.key("t:"))
}

func (q queue) scheduled(ctx context.Context) (bool, error) { return q.later(ctx, "scheduled") }
func (q queue) retry(ctx context.Context) (bool, error)     { return q.later(ctx, "retry") }

func (q queue) later(ctx context.Context, set string) (bool, error) {
	return q.walk(ctx, NoTask, q.scripts.walkSet, []string{q.key(set)}, q.key("t:"), q.key("g:"))
}

func (q queue) leases(ctx context.Context) (bool, error) {
	return q.walk(ctx, OrphanedLease, q.scripts.dropOrphans, []string{q.key("lease"), q.key("active")})
}

// walk runs a script over a list or set, from where the last pass stopped, until its end or for as many steps as a pass may
// take. It says whether it removed something and was not through.
func (q queue) walk(ctx context.Context, what What, s *redis.Script, keys []string, prefixes ...any) (more bool, err error) {
	gone := 0
	defer func() { q.found(ctx, what, q.name, gone) }()
	for range mostSteps {
		args := []any{q.cursors[keys[0]], batch}
		if len(prefixes) > 0 {
			args = append([]any{prefixes[0]}, append(args, prefixes[1:]...)...)
		}
		counts, err := s.Run(ctx, q.redis, keys, args...).Int64Slice()
		if err != nil || len(counts) != 2 {
			return false, fmt.Errorf("walk along %s: %w", keys[0], err)
		}
		gone += int(counts[1])
		if q.passed(keys[0], counts[0], counts[1], false) {
			return false, nil
		}
	}
	return gone > 0, nil
}

// passed notes how far a walk has come, and says whether it has come to the end. What was removed need not be passed by.
func (q queue) passed(key string, seen, gone int64, cut bool) (end bool) {
	if seen < batch && !cut {
		delete(q.cursors, key)
		return true
	}
	q.cursors[key] += int(seen - gone)
	return false
}

const (
	// longestLease is somewhat more than asynq gives, 30 s. That of a worker whose clock is further ahead is shortened on every
	// pass, which does no harm.
	longestLease = 45 * time.Second
	// longestMessage is more than what a signer signs, headers and all. A longer one is no task.
	longestMessage = jobs.MaxArgsBytes + 1<<20
)

// suspect is an active task that no worker seems to have.
type suspect struct {
	id, msg string
	size    int64
	digest  string // SHA-1 of the message, to recognise it by: not against somebody who looks for collisions, as who wrote it could as well delete it
	lease   string // its end in Unix seconds, "" for none
}

// active looks after the active list: what lies there is lost to workers until somebody sees to it.
func (q queue) active(ctx context.Context) (more bool, err error) {
	keys := []string{q.key("active"), q.key("lease")}
	finds := make(map[What]int)
	defer func() {
		for what, n := range finds {
			q.found(ctx, what, q.name, n)
		}
	}()
	for range mostSteps {
		answer, err := q.scripts.walkActive.Run(ctx, q.redis, keys, q.key("t:"), q.cursors[keys[0]], batch, int64(longestLease/time.Second), longestMessage).Slice()
		if err != nil {
			return false, fmt.Errorf("walk along %s: %w", keys[0], err)
		}
		w, err := readActive(answer)
		if err != nil {
			return false, fmt.Errorf("walk along %s: %w", keys[0], err)
		}
		if w.gone > 0 {
			finds[NoTask] += int(w.gone)
		}
		for _, s := range w.suspects {
			what, err := q.settle(ctx, s, w.now)
			if err != nil {
				return false, err
			}
			if what == "" {
				continue
			}
			finds[what]++
			if what != StrayLease {
				w.gone++
			}
		}
		if q.passed(keys[0], w.seen, w.gone, w.cut) {
			return false, nil
		}
	}
	return len(finds) > 0, nil
}

// activeWalk is what a step along the active list has found.
type activeWalk struct {
	seen, gone int64
	now        time.Time // Redis's
	suspects   []suspect
	cut        bool // it stopped early
}

func readActive(answer []any) (activeWalk, error) {
	odd := errors.New("the script's answer is not understood")
	if len(answer) != 5 {
		return activeWalk{}, odd
	}
	var w activeWalk
	w.seen, _ = answer[0].(int64)
	w.gone, _ = answer[1].(int64)
	seconds, _ := answer[2].(int64)
	rows, _ := answer[3].([]any)
	cut, _ := answer[4].(int64)
	w.now, w.cut = time.Unix(seconds, 0), cut == 1
	for _, row := range rows {
		fields, _ := row.([]any)
		if len(fields) != 5 {
			return activeWalk{}, odd
		}
		var s suspect
		s.id, _ = fields[0].(string)
		s.msg, _ = fields[1].(string)
		s.size, _ = fields[2].(int64)
		s.digest, _ = fields[3].(string)
		s.lease, _ = fields[4].(string)
		w.suspects = append(w.suspects, s)
	}
	return w, nil
}

// settle puts one suspect in order and says as what, "" if nothing was to be done (yet).
func (q queue) settle(ctx context.Context, s suspect, now time.Time) (What, error) {
	m, err := rawtask.Decode([]byte(s.msg))
	switch {
	case err != nil || s.size > longestMessage:
		return q.remove(ctx, s, Undecodable, "an active message that cannot be decoded")
	case m.ID != s.id || m.Queue != q.name:
		return q.remove(ctx, s, WrongName, "an active message of another ID or queue than the key that it lies under")
	}
	end, err := strconv.ParseFloat(s.lease, 64)
	if err != nil || end > float64(now.Add(longestLease).Unix()) {
		return as(StrayLease, q.scripts.leaseActive.Run(ctx, q.redis, q.activeKeys(s), s.id, s.digest,
			int64(longestLease/time.Second), int64(q.cfg.Lease/time.Second)))
	}
	if end > float64(now.Add(-q.cfg.Grace).Unix()) {
		return "", nil
	}
	// As asynq's own recovery does, which comes up to a minute later: a task that takes its worker along each time must not
	// do so for ever.
	state, msg := "archived", []byte(s.msg)
	if m.OddRetries() { // somebody wrote it: as if it had been tried for the first time
		m.Retried = 0
	}
	if m.Retried < m.MaxRetry {
		state, msg = "pending", rawtask.WithRetried(msg, m.Retried+1)
	}
	keys := append(q.activeKeys(s), q.key("pending"), q.key("archived"))
	return as(ExpiredLease, q.scripts.recoverActive.Run(ctx, q.redis, keys, s.id, s.digest, s.lease, msg, state))
}

func (q queue) activeKeys(s suspect) []string {
	return []string{q.key("t:" + s.id), q.key("active"), q.key("lease")}
}

// as reads a script's answer: 0 where somebody else was faster.
func as(what What, cmd *redis.Cmd) (What, error) {
	n, err := cmd.Int()
	switch {
	case err != nil:
		return "", fmt.Errorf("put %s in order: %w", what, err)
	case n == 0:
		return "", nil
	}
	return what, nil
}

// remove keeps a message in quarantine, then takes it out of Redis.
func (q queue) remove(ctx context.Context, s suspect, what What, detail string) (What, error) {
	sum := sha256.Sum256([]byte(s.msg))
	entry := jobs.Refused{
		ID:     uuid.NewHash(sha256.New(), uuid.Nil, fmt.Appendf(nil, "%s %q %q %x", what, q.name, s.id, sum), 8).String(),
		TaskID: shown(s.id), Queue: shown(q.name), Headers: map[string]string{},
		Payload: []byte(s.msg)[:min(len(s.msg), jobs.MaxArgsBytes)], Size: s.size, PayloadSHA256: sum,
		Reason: signing.ReasonMalformed, Detail: detail, ReceivedAt: q.cfg.Now(),
	}
	if err := q.quarantine.Keep(ctx, entry); err != nil && !errors.Is(err, quarantine.ErrCounted) {
		return "", fmt.Errorf("quarantine: %w", err)
	}
	return as(what, q.scripts.removeActive.Run(ctx, q.redis, q.activeKeys(s), s.id, s.digest))
}

// maxShownName is how much of a name that nobody verified is kept.
const maxShownName = 256

// shown makes a name that nobody verified fit to be stored and printed.
func shown(name string) string {
	const odd = "\uFFFD"
	name = strings.ToValidUTF8(name[:min(len(name), maxShownName)], odd)
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, name)
}
