package rawtask

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/redis/go-redis/v9"
)

// Lister lists what a queue holds in bounded steps: pages of a hundred tasks at most, and of each no more bytes than it was
// made for. asynq's Inspector fails for a whole page on one message that it cannot decode, and never shows a task that no
// list holds. A Lister changes nothing. It is safe for concurrent use.
//
// What it tells is no snapshot: a task that moves between two steps may be told twice, or left out.
type Lister struct {
	redis redis.UniversalClient

	page, look, count, names, sets, ids, scan, alive, server, days *redis.Script
}

// NewLister reads through c, which stays the caller's to close.
func NewLister(c redis.UniversalClient) *Lister {
	alive, server, days := serverScripts()
	return &Lister{
		redis: c, alive: alive, server: server, days: days, page: redis.NewScript(listPage), look: redis.NewScript(lookAt), count: redis.NewScript(countPlaces),
		names: redis.NewScript(namesPage), sets: redis.NewScript(setNames), ids: redis.NewScript(listedIDs), scan: redis.NewScript(scanTasks),
	}
}

// run runs a script on the keys that begin with prefix.
func (l *Lister) run(ctx context.Context, s *redis.Script, prefix string, largest int, args ...any) ([]any, error) {
	answer, err := s.Run(ctx, l.redis, []string{prefix}, append([]any{largest, max(pageBudget, largest)}, args...)...).Slice()
	if err != nil {
		return nil, fmt.Errorf("read the queue: %w", err)
	}
	if len(answer) == 0 {
		return nil, errors.New("read the queue: the script answered nothing")
	}
	return answer, nil
}

// Look describes the task under an ID, and says where it stands. It returns ErrNoTask where there is no key and no place.
func (l *Lister) Look(ctx context.Context, queue, id string) (Found, error) {
	prefix, err := prefixOf(queue)
	if err != nil {
		return Found{}, err
	}
	answer, err := l.run(ctx, l.look, prefix, MaxMessage, id, searched)
	if err != nil {
		return Found{}, err
	}
	d, err := describe(queue, answer[0])
	if err != nil {
		return Found{}, err
	}
	var in []State
	for i, place := range []State{Pending, Active, Aggregating} {
		switch held, _ := answer[i+1].(int64); held {
		case 1:
			in = append(in, place)
		case 2:
			d.Unsure = true
		}
	}
	f := d.stands(true, in...)
	if f.Type == "none" && len(f.Places) == 0 {
		return Found{}, ErrNoTask
	}
	return f, nil
}

// Tasks lists the tasks of one state: those first that are fetched, or due, next. An error that is a *PlaceError ends this
// state alone. Unlisted is listed by a search through at most DefaultScan keys.
func (l *Lister) Tasks(ctx context.Context, queue string, state State) iter.Seq2[Found, error] {
	return func(yield func(Found, error) bool) {
		prefix, err := prefixOf(queue)
		if err != nil {
			yield(Found{}, err)
			return
		}
		switch state {
		case Active, Pending:
			l.pages(ctx, queue, prefix, state, string(state), "list", yield)
		case Scheduled, Retry, Archived, Completed:
			l.pages(ctx, queue, prefix, state, string(state), "zset", yield)
		case Aggregating:
			l.groups(ctx, queue, prefix, yield)
		case Unlisted:
			l.Unlisted(ctx, queue, DefaultScan)(yield)
		default:
			yield(Found{}, fmt.Errorf("list tasks: there is no state %q", state))
		}
	}
}

// pages yields the tasks of one list or set, and says whether the caller wants more.
func (l *Lister) pages(ctx context.Context, queue, prefix string, state State, name, kind string, yield func(Found, error) bool) bool {
	for from, length := 0, 1; from < length; {
		answer, err := l.run(ctx, l.page, prefix, MaxListedMessage, name, kind, from, pageSize)
		if err != nil {
			return yield(Found{}, err) && false
		}
		if other, ok := answer[0].(string); ok {
			return yield(Found{}, &PlaceError{Queue: queue, State: state, Type: other})
		}
		if from == 0 { // of what comes while it is being read nothing is promised; it must end
			n, _ := answer[0].(int64)
			length = int(n)
		}
		if len(answer) == 1 {
			return true
		}
		for _, told := range answer[1:] {
			d, err := describe(queue, told)
			if err != nil {
				return yield(Found{}, err) && false
			}
			if !yield(d.stands(false, state), nil) {
				return false
			}
		}
		from += len(answer) - 1
	}
	return true
}

// groups yields the tasks of all groups, and of the sets that are being aggregated.
func (l *Lister) groups(ctx context.Context, queue, prefix string, yield func(Found, error) bool) {
	for cursor := "0"; ; {
		var names []string
		var err error
		cursor, names, err = l.nextNames(ctx, prefix+"groups", cursor, MaxID)
		if other, ok := errors.AsType[*PlaceError](err); ok {
			other.Queue, other.State = queue, Aggregating
			if !yield(Found{}, other) {
				return
			}
			break
		}
		if err != nil {
			yield(Found{}, err)
			return
		}
		for _, group := range names {
			if !l.pages(ctx, queue, prefix, Aggregating, "g:"+group, "zset", yield) {
				return
			}
		}
		if cursor == "0" {
			break
		}
	}
	for from := 0; ; {
		answer, err := l.run(ctx, l.sets, prefix, 0, from, pageSize)
		if err != nil {
			yield(Found{}, err)
			return
		}
		for _, name := range texts(answer[1:]) {
			if !l.pages(ctx, queue, prefix, Aggregating, name, "zset", yield) {
				return
			}
		}
		looked, _ := answer[0].(int64)
		if looked < pageSize {
			return
		}
		from += int(looked)
	}
}

// nextNames reads a page of a set of names.
func (l *Lister) nextNames(ctx context.Context, key, cursor string, longest int) (next string, names []string, err error) {
	answer, err := l.run(ctx, l.names, key, 0, cursor, pageSize, longest)
	if err != nil {
		return "", nil, err
	}
	if len(answer) == 1 {
		other, _ := answer[0].(string)
		return "", nil, &PlaceError{Type: other}
	}
	next, _ = answer[0].(string)
	return next, texts(answer[2:]), nil
}

func texts(values []any) []string {
	all := make([]string, 0, len(values))
	for _, v := range values {
		if s, ok := v.(string); ok {
			all = append(all, s)
		}
	}
	return all
}

// MaxQueues is how many names of queues are read at most.
const MaxQueues = 1000

// Queues lists the queues that asynq knows in this Redis, in order, a thousand at most. Names that no queue of ours can have
// are left out.
func (l *Lister) Queues(ctx context.Context) ([]string, error) {
	var all []string
	for cursor := "0"; ; {
		var names []string
		var err error
		cursor, names, err = l.nextNames(ctx, "asynq:queues", cursor, 256)
		if other, ok := errors.AsType[*PlaceError](err); ok {
			return nil, fmt.Errorf("the key asynq:queues holds a %s, which asynq did not put there: look at it and delete it", other.Type)
		}
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if _, err := prefixOf(name); err == nil {
				all = append(all, name)
			}
		}
		if cursor == "0" || len(all) >= MaxQueues {
			break
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	return all[:min(len(all), MaxQueues)], nil
}

// Counts says how many tasks a queue holds in each state, -1 where the key is of another type than asynq's. Under Aggregating
// it counts the groups. Unlisted tasks are not counted: that takes a search.
func (l *Lister) Counts(ctx context.Context, queue string) (map[State]int64, error) {
	prefix, err := prefixOf(queue)
	if err != nil {
		return nil, err
	}
	places := []State{Pending, Active, Scheduled, Retry, Archived, Completed, Aggregating}
	const lists = 2 // the first two of them
	answer, err := l.run(ctx, l.count, prefix, 0, lists, "pending", "active", "scheduled", "retry", "archived", "completed", "groups")
	if err != nil {
		return nil, err
	}
	counts := make(map[State]int64, len(places))
	for i, place := range places {
		counts[place], _ = answer[i].(int64)
	}
	return counts, nil
}
