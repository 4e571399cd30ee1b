package quarantine

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sealq/sealq/signing"
)

// Query says of which entries a page is. All that is given must hold.
type Query struct {
	Reason, Queue, Kind string // "": whatever it is
	// Releasable are those entries alone that were not released and may be: they were signed, or by a key that was not known then. False: all.
	Releasable bool
	// Before are the entries that come after this one in the list, the newest first. Zero: from the newest on.
	Before Place
}

// Place is an entry's in the list.
type Place struct {
	At time.Time // when it was received
	ID string
}

// IsZero says that it is nobody's.
func (p Place) IsZero() bool { return p.At.IsZero() && p.ID == "" }

// The names of a filter's and a query's facts, where they travel as texts.
const (
	argIDs       = "ids"
	argOlderThan = "older_than"
	argReason    = "reason"
	argQueue     = "queue"
	argKind      = "kind"
	argAuthentic = "authentic"
)

// Args are what the query asks for as texts, for QueryOf. Where its page begins is none of them.
func (q Query) Args() map[string]string {
	args := map[string]string{argReason: q.Reason, argQueue: q.Queue, argKind: q.Kind}
	for name, value := range args {
		if value == "" {
			delete(args, name)
		}
	}
	return args
}

// IDsOf are the IDs that a filter's texts name, none where they name none.
func IDsOf(args map[string]string) []string { return strings.Fields(args[argIDs]) }

// QueryOf reads what Args writes. One that names neither a reason nor a queue nor a kind means everything, and is ErrFilter.
func QueryOf(args map[string]string) (Query, error) {
	q := Query{Reason: args[argReason], Queue: args[argQueue], Kind: args[argKind]}
	if q == (Query{}) {
		return q, fmt.Errorf("%w: name a reason, a queue or a kind", ErrFilter)
	}
	return q, nil
}

// Args are the filter as texts, for FilterOf.
func (f Filter) Args() map[string]string {
	args := make(map[string]string)
	if len(f.IDs) > 0 {
		args[argIDs] = strings.Join(f.IDs, " ")
	}
	if f.OlderThan > 0 {
		args[argOlderThan] = f.OlderThan.String()
	}
	if f.Reason != "" {
		args[argReason] = string(f.Reason)
	}
	if f.Queue != "" {
		args[argQueue] = f.Queue
	}
	if f.Kind != "" {
		args[argKind] = f.Kind
	}
	if f.Authentic {
		args[argAuthentic] = strconv.FormatBool(true)
	}
	return args
}

// ErrFilter means that texts are no filter, or one that means everything.
var ErrFilter = errors.New("this says not which entries are meant")

// FilterOf reads what Args writes. A filter that names nothing means everything, and is ErrFilter: nobody
// purges by leaving something out.
func FilterOf(args map[string]string) (Filter, error) {
	f := Filter{
		IDs: IDsOf(args), Reason: signing.Reason(args[argReason]), Queue: args[argQueue], Kind: args[argKind],
		Authentic: args[argAuthentic] == strconv.FormatBool(true),
	}
	if len(f.IDs) == 0 {
		f.IDs = nil
	}
	if text := args[argOlderThan]; text != "" {
		age, err := time.ParseDuration(text)
		if err != nil || age <= 0 {
			return Filter{}, fmt.Errorf("%w: an age is a duration, such as 720h", ErrFilter)
		}
		f.OlderThan = age
	}
	if f.Reason != "" && !f.Reason.Known() {
		return Filter{}, fmt.Errorf("%w: no task is refused for that reason", ErrFilter)
	}
	if len(f.IDs) == 0 && f.OlderThan == 0 && f.Reason == "" && f.Queue == "" && f.Kind == "" {
		return Filter{}, fmt.Errorf("%w: name entries, an age, a reason, a queue or a kind", ErrFilter)
	}
	return f, nil
}
