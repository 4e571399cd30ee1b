package jobs

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// RowInfo is where an outbox row stands, for people. It has no payload.
type RowInfo struct {
	ID        string
	Kind      Kind
	Queue     string
	State     RowState
	Attempt   int // the task's ID is ID + "." + Attempt
	Failures  int // of its handler, over all attempts
	Retries   int
	Cause     string // what went wrong last
	KID       string // of the key that signed its task last; "" before
	NotBefore time.Time
	NextAt    time.Time // queued: since when it waits to be enqueued; enqueued: since when its task may be missed
	ExpiresAt time.Time
	CreatedAt time.Time
	SignedAt  time.Time // when a relay had last put its task into Redis; zero before
	EndedAt   time.Time // zero while it is unfinished
}

// TaskID is the asynq ID of the row's attempt.
func (r RowInfo) TaskID() string { return rowTaskID(r.ID, r.Attempt) }

// SplitTaskID takes a task ID apart that may be an outbox row's: row ID + "." + attempt. Nothing of it is verified; RowAttempt
// is for a task that was.
func SplitTaskID(id string) (rowID string, attempt int, ok bool) {
	rowID, tail, found := strings.Cut(id, ".")
	n, err := strconv.Atoi(tail)
	if !found || err != nil || n < 1 || rowTaskID(rowID, n) != id {
		return "", 0, false
	}
	return rowID, n, true
}

// Why a row is not reissued.
var (
	// ErrNoSuchRow means that the outbox has no row of that ID and kind.
	ErrNoSuchRow = errors.New("the outbox has no such row")
	// ErrRowDone means that the job's effect is committed: it is not to happen again.
	ErrRowDone = errors.New("its effect is done already")
	// ErrRowExpired means that the row's end has passed. It was fixed when the job was recorded.
	ErrRowExpired = errors.New("it has expired, and its end was fixed when it was recorded")
	// ErrOtherAttempt means that the row has another attempt by now.
	ErrOtherAttempt = errors.New("another attempt was made meanwhile")
)
