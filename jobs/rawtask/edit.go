package rawtask

import (
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// OddRetries says whether asynq cannot have counted the message's tries: it counts from 0 up to the most that there may be. No
// signature covers the count. By one that is too high asynq archives a task at its first failure; one below zero has no end.
func (m *Message) OddRetries() bool { return m.Retried < 0 || m.Retried > m.MaxRetry }

// WithRetried is the stored message with another count of tries. raw is not changed.
func WithRetried(raw []byte, n int) []byte { return withNumber(raw, fieldRetried, int64(max(n, 0))) }

// WithDeadline is the stored message with no timeout and this deadline. raw is not changed.
func WithDeadline(raw []byte, t time.Time) []byte {
	return withNumber(withNumber(raw, fieldTimeout, 0), fieldDeadline, t.Unix())
}

// withNumber appends a field: in a protobuf message the last one of a number holds.
func withNumber(raw []byte, field protowire.Number, n int64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(slices.Clip(raw), field, protowire.VarintType), uint64(n)) //nolint:gosec // as protobuf sends an int64
}
