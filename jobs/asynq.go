package jobs

import (
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/internal/trips"
)

// NewAsynqClient returns an asynq client, for [NewEnqueuer] or [Wrap], whose calls share round trips to Redis: what
// goroutines enqueue at the same time travels in one pipeline, 128 tasks at most. A call that is alone waits for nobody and
// is sent as asynq's own client sends it. Each call has its own answer; one whose context ends returns, and its task may be
// enqueued all the same, as without it.
//
// Like asynq.NewClientFromRedisClient it leaves r open, for the caller to close. What hooks of r see is pipelines as well as
// single commands; a pipeline runs under the context of its first call, without that one's end.
func NewAsynqClient(r redis.UniversalClient) *asynq.Client {
	return asynq.NewClientFromRedisClient(trips.Share(r))
}
