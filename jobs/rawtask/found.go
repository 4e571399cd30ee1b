package rawtask

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// State is a place in which a queue keeps tasks: a list or a set.
type State string

// The states, in the order in which an operator wants to see them.
const (
	Active      State = "active"
	Retry       State = "retry"
	Scheduled   State = "scheduled"
	Pending     State = "pending"
	Archived    State = "archived"
	Completed   State = "completed"
	Aggregating State = "aggregating" // in a group, or in a set that is being made one task of
	// Unlisted is no place: a task lies under its key, and no list or set holds it. No worker will ever fetch it.
	Unlisted State = "unlisted"
)

// States lists them all.
func States() []State {
	return []State{Active, Retry, Scheduled, Pending, Archived, Completed, Aggregating, Unlisted}
}

// What is read at most, in bytes. Whoever writes to Redis chooses the sizes of what lies there.
const (
	// MaxListedMessage is the largest message that a listing reads. A genuine task of default limits is smaller.
	MaxListedMessage = 2 << 20
	// MaxMessage is the largest message that Look reads.
	MaxMessage = 16 << 20
	// MaxID is up to where an ID is told; a longer one is nobody's of ours (signing.DefaultMaxName).
	MaxID = 1 << 10

	pageSize   = 100     // tasks in one step
	pageBudget = 4 << 20 // bytes of messages in one step
	// searched is how far a list is searched from each of its ends for one ID.
	searched = 100_000
)

// Why a task that was found has no message.
var (
	// ErrTooLarge means that the message is larger than is read.
	ErrTooLarge = errors.New("the stored message is larger than is read")
	// ErrQueueName means that no queue of ours has that name.
	ErrQueueName = errors.New("a queue's name must not be empty, longer than 256 bytes, or contain braces")
)

// PlaceError means that a list or set of the queue is of another type than asynq gives it. Nothing can be read of it, and
// workers fail on it too.
type PlaceError struct {
	Queue string
	State State
	Type  string // as Redis says
}

// Error returns one sentence.
func (e *PlaceError) Error() string {
	return fmt.Sprintf("the key of the %s tasks of queue %q holds a %s, which asynq did not put there: look at it and delete it", e.State, e.Queue, e.Type)
}

// Found is what Redis holds under a task's ID, whatever it is. Nothing of it is verified.
type Found struct {
	Queue  string  // that it lies in
	ID     string  // as its key has it, the first MaxID bytes; IDSize tells of how many
	IDSize int     // bytes of the whole ID
	Places []State // the lists and sets that hold it; a listing's own comes first and the lists of others are not searched
	Stored string  // the state that its hash names, cut
	// Leased says that an active task has a lease. Without one it would never be recovered.
	Leased bool
	// When is the score in the set of its first place; of an active task its lease's. Zero: none.
	When time.Time
	// Unsure says that the queue's lists are too long to be searched for it: Places may lack Pending or Active.
	Unsure bool
	Size   int64  // of the stored message; -1: there is none
	Type   string // of its key, as Redis says; "none" where there is no key
	// Message is zero where Err is not nil. Its ID and queue may be others than those of its key.
	Message Message
	Err     error // ErrNoTask, ErrUndecodable or ErrTooLarge: why there is no message
}

// State is where the task stands: the first of its places, or Unlisted.
func (f Found) State() State {
	if len(f.Places) == 0 {
		return Unlisted
	}
	return f.Places[0]
}

// Problem is what is wrong with where and how a task lies in Redis, apart from its signature.
type Problem string

// The problems.
const (
	NoTask       Problem = "no_task"       // a list or set holds the ID, and there is no message under it
	WrongType    Problem = "wrong_type"    // the task's key does not hold a hash
	Undecodable  Problem = "undecodable"   // asynq cannot decode the message; in the active list it stops all recovery
	TooLarge     Problem = "too_large"     // the message is larger than is read here
	OtherID      Problem = "other_id"      // the message names another ID than its key: asynq would end that task
	OtherQueue   Problem = "other_queue"   // the message names another queue than its key
	StateDiffers Problem = "state_differs" // the hash names another state than the place it stands in
	TwoPlaces    Problem = "two_places"    // more than one list or set holds it
	InNoList     Problem = "in_no_list"    // no list or set holds it: nobody will fetch it
	NoLease      Problem = "no_lease"      // active without a lease: never recovered if its worker dies
	PastDeadline Problem = "past_deadline" // asynq ends it without asking a worker
	OddRetries   Problem = "odd_retries"   // asynq cannot have counted its tries so: it archives it at its first failure, or never
	Grouped      Problem = "grouped"       // aggregation makes an unsigned task of it, which is refused
	LongID       Problem = "long_id"       // the ID is longer than any of ours
)

// Problems lists what is wrong. now is compared with what asynq's clocks wrote.
func (f Found) Problems(now time.Time) []Problem {
	problems := []Problem{}
	add := func(p Problem, holds bool) {
		if holds {
			problems = append(problems, p)
		}
	}
	add(WrongType, f.Type != "hash" && f.Type != "none")
	add(NoTask, errors.Is(f.Err, ErrNoTask))
	add(Undecodable, errors.Is(f.Err, ErrUndecodable) && f.Type == "hash")
	add(TooLarge, errors.Is(f.Err, ErrTooLarge))
	add(LongID, f.IDSize > MaxID)
	if f.Err == nil {
		add(OtherID, f.Message.ID != f.ID || f.IDSize > MaxID)
		add(OtherQueue, f.Message.Queue != f.Queue)
		add(PastDeadline, !f.Message.Deadline.IsZero() && f.Message.Deadline.Before(now))
		add(OddRetries, f.Message.OddRetries())
	}
	add(InNoList, len(f.Places) == 0 && !f.Unsure)
	add(TwoPlaces, len(f.Places) > 1)
	add(StateDiffers, len(f.Places) > 0 && f.Type == "hash" && f.Stored != string(f.Places[0]))
	add(NoLease, slices.Contains(f.Places, Active) && !f.Leased)
	add(Grouped, slices.Contains(f.Places, Aggregating))
	return problems
}

// described is what the scripts tell of a task.
type described struct {
	Found
	scores map[State]string // of an active task the lease's; "" where the set does not hold it
}

// describedFields is how many values that are.
const describedFields = 11

func describe(queue string, answer any) (described, error) {
	values, ok := answer.([]any)
	if !ok || len(values) != describedFields {
		return described{}, fmt.Errorf("look at queue %s: a script answered %T, not what it should", queue, answer)
	}
	text := func(i int) string { s, _ := values[i].(string); return s }
	number := func(i int) int64 { n, _ := values[i].(int64); return n }
	d := described{
		Found: Found{
			Queue: queue, ID: text(0), IDSize: int(number(1)), Type: text(2), Size: number(3), Stored: text(5), Leased: text(6) != "",
		},
		scores: map[State]string{Active: text(6), Scheduled: text(7), Retry: text(8), Archived: text(9), Completed: text(10)},
	}
	d.Message, d.Err = messageIn(d.Type, d.Size, text(4))
	return d, nil
}

// stands completes the task with its places: those that it was found in, and the sets that hold it. asynq goes by the state
// that the hash names: where bySaid, that place comes first.
func (d described) stands(bySaid bool, in ...State) Found {
	f := d.Found
	f.Places = in
	for _, set := range []State{Scheduled, Retry, Archived, Completed} {
		if d.scores[set] != "" && !slices.Contains(in, set) {
			f.Places = append(f.Places, set)
		}
	}
	if i := slices.Index(f.Places, State(f.Stored)); bySaid && i > 0 {
		f.Places = slices.Insert(slices.Delete(f.Places, i, i+1), 0, State(f.Stored))
	}
	if len(f.Places) > 0 {
		f.When = timeOf(d.scores[f.Places[0]])
	}
	return f
}

// messageIn takes the message apart, or says why there is none. raw is empty where it was not read.
func messageIn(keyType string, size int64, raw string) (Message, error) {
	switch {
	case keyType != "hash" && keyType != "none":
		return Message{}, fmt.Errorf("%w: its key holds a %s and not a hash", ErrUndecodable, keyType)
	case size < 0:
		return Message{}, ErrNoTask
	case size != int64(len(raw)):
		return Message{}, fmt.Errorf("%w: it has %d bytes", ErrTooLarge, size)
	}
	m, err := Decode([]byte(raw))
	if err != nil {
		return Message{}, err
	}
	return m, nil
}

// prefixOf begins every key of the queue. The braces are Redis Cluster's hash tag: all of them lie in one slot.
func prefixOf(queue string) (string, error) {
	if queue == "" || len(queue) > 256 || strings.ContainsAny(queue, "{}") {
		return "", fmt.Errorf("%w: %s", ErrQueueName, strconv.QuoteToASCII(queue[:min(len(queue), 64)]))
	}
	return "asynq:{" + queue + "}:", nil
}
