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

// The names of a filter's facts, where it travels as texts.
const (
	argIDs       = "ids"
	argOlderThan = "older_than"
	argReason    = "reason"
	argAuthentic = "authentic"
)

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
	if f.Authentic {
		args[argAuthentic] = strconv.FormatBool(true)
	}
	return args
}

// ErrFilter means that texts are no filter, or one that means everything.
var ErrFilter = errors.New("this says not which entries are meant")

// FilterOf reads what Args writes. A filter that names neither entries nor an age nor a reason means everything, and is ErrFilter: nobody
// purges by leaving something out.
func FilterOf(args map[string]string) (Filter, error) {
	f := Filter{IDs: strings.Fields(args[argIDs]), Reason: signing.Reason(args[argReason]), Authentic: args[argAuthentic] == strconv.FormatBool(true)}
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
	if len(f.IDs) == 0 && f.OlderThan == 0 && f.Reason == "" {
		return Filter{}, fmt.Errorf("%w: name entries, an age or a reason", ErrFilter)
	}
	return f, nil
}
