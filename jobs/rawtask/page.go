package rawtask

import (
	"context"
	"fmt"
)

// MaxFrom is up to where a page may begin: Redis walks a list from its end to there for each task.
const MaxFrom = 10_000

// Page lists up to a hundred tasks of one list or set from a place on, those first that are fetched, or due, next, and says how many
// there are. It ends early where they become too many bytes: the next page begins at from + len(tasks). An error that is a *PlaceError is about this
// state alone.
func (l *Lister) Page(ctx context.Context, queue string, state State, from int) (tasks []Found, total int64, err error) {
	prefix, err := prefixOf(queue)
	if err != nil {
		return nil, 0, err
	}
	kind := "zset"
	switch state {
	case Active, Pending:
		kind = "list"
	case Scheduled, Retry, Archived, Completed:
	default:
		return nil, 0, fmt.Errorf("list tasks: %q has no pages", state)
	}
	if from < 0 || from > MaxFrom {
		return nil, 0, fmt.Errorf("list tasks: a page begins at 0 to %d", MaxFrom)
	}
	answer, err := l.run(ctx, l.page, prefix, MaxListedMessage, string(state), kind, from, pageSize)
	if err != nil {
		return nil, 0, err
	}
	if other, ok := answer[0].(string); ok {
		return nil, 0, &PlaceError{Queue: queue, State: state, Type: other}
	}
	total, _ = answer[0].(int64)
	for _, told := range answer[1:] {
		d, err := describe(queue, told)
		if err != nil {
			return nil, 0, err
		}
		tasks = append(tasks, d.stands(false, state))
	}
	return tasks, total, nil
}
