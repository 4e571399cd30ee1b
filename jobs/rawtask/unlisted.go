package rawtask

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
)

// DefaultScan is how many keys of the server a search for unlisted tasks looks at.
const DefaultScan = 1_000_000

const (
	scanPage = 1000
	// mostListed is how many IDs of pending and active tasks the search keeps in memory.
	mostListed = 200_000
)

// ErrNotAll means that a search ended before it had seen everything.
var ErrNotAll = errors.New("not everything was searched")

// Unlisted searches for tasks of a queue that no list and no set holds, among at most mostKeys keys of the server. It ends in
// ErrNotAll where there are more, or where more tasks wait than it can compare with.
func (l *Lister) Unlisted(ctx context.Context, queue string, mostKeys int) iter.Seq2[Found, error] {
	return func(yield func(Found, error) bool) {
		prefix, err := prefixOf(queue)
		if err != nil {
			yield(Found{}, err)
			return
		}
		seen := make(map[string]bool) // the fingerprints that need not be looked at (again)
		for _, list := range []string{"pending", "active"} {
			if err := l.readIDs(ctx, prefix, list, seen); err != nil {
				yield(Found{}, err)
				return
			}
		}
		pattern := globEscaper().Replace(prefix+"t:") + "*"
		cursor := "0"
		for looked := 0; looked < mostKeys; looked += scanPage {
			answer, err := l.run(ctx, l.scan, prefix, 0, cursor, pattern, scanPage)
			if err != nil {
				yield(Found{}, err)
				return
			}
			for _, candidate := range answer[1:] {
				if !l.unlisted(ctx, queue, candidate, seen, yield) {
					return
				}
			}
			if cursor, _ = answer[0].(string); cursor == "0" {
				return
			}
		}
		yield(Found{}, fmt.Errorf("%w: this Redis holds more than %d keys", ErrNotAll, mostKeys))
	}
}

// unlisted yields a candidate that was not seen in a list, if a second look finds it in none either: tasks move.
func (l *Lister) unlisted(ctx context.Context, queue string, candidate any, seen map[string]bool, yield func(Found, error) bool) bool {
	values, _ := candidate.([]any)
	if len(values) != 2 {
		return true
	}
	id, _ := values[0].(string)
	mark, _ := values[1].(string)
	if seen[mark] {
		return true
	}
	seen[mark] = true
	if id == "" && mark != "" { // too long to be told
		return yield(Found{Queue: queue, IDSize: MaxID + 1, Size: -1, Type: "hash", Err: fmt.Errorf("%w: its ID is longer than %d bytes", ErrTooLarge, MaxID)}, nil)
	}
	f, err := l.Look(ctx, queue, id)
	switch {
	case errors.Is(err, ErrNoTask):
		return true
	case err != nil:
		return yield(Found{}, err) && false
	case len(f.Places) > 0 || f.Unsure:
		return true
	}
	return yield(f, nil)
}

// readIDs adds the fingerprints of a list's IDs.
func (l *Lister) readIDs(ctx context.Context, prefix, list string, seen map[string]bool) error {
	for from, length := 0, 1; from < length; {
		answer, err := l.run(ctx, l.ids, prefix, 0, list, from, scanPage)
		if err != nil {
			return err
		}
		n, _ := answer[0].(int64)
		if length = int(n); length > mostListed {
			return fmt.Errorf("%w: %d tasks are %s, and no more than %d can be compared with", ErrNotAll, length, list, mostListed)
		}
		if len(answer) == 1 {
			return nil
		}
		for _, mark := range texts(answer[1:]) {
			seen[mark] = true
		}
		from += len(answer) - 1
	}
	return nil
}

// globEscaper takes the meaning from what SCAN's patterns give one.
func globEscaper() *strings.Replacer {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)
}
