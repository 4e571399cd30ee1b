package janitor_test

import (
	"context"
	"fmt"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/worker/janitor"
)

// A worker runs a Janitor beside its server. Here it makes a single pass over a queue in which somebody has left an entry
// without a task, and a message that is none.
func Example() {
	server, err := miniredis.Run() // an app has a Redis
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	ctx := context.Background()
	client.LPush(ctx, "asynq:{mail}:pending", "nothing")
	client.LPush(ctx, "asynq:{mail}:active", "poison")
	client.HSet(ctx, "asynq:{mail}:t:poison", "msg", "\xff")

	quarantine := &shelf{} // an app has a database
	tidy, err := janitor.New(client, quarantine, janitor.Config{
		Queues: []string{"mail"},
		OnFind: func(_ context.Context, f janitor.Find) { fmt.Println(f.Queue, f.What, f.Count) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	more, err := tidy.Pass(ctx)
	fmt.Println(more, err, len(quarantine.kept))
	// Output:
	// mail undecodable 1
	// mail no_task 1
	// false <nil> 1
}
