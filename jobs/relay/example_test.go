package relay_test

import (
	"context"
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/relay"
	"github.com/sealq/sealq/signing"
)

// ring is a key ring in memory. An app reads its own with signing.Open(ctx, "file:keys.json", "prod-eu").
type ring struct{ *signing.Ring }

func (r ring) Load(context.Context) (*signing.Ring, error) { return r.Ring, nil }
func (ring) String() string                                { return "memory" }

// The relay enqueues what was recorded in the outbox. Here the outbox is in memory; store/postgres and
// store/sqlite have real ones.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	server, err := miniredis.Run() // an app has a Redis
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	fresh, err := signing.NewRing(time.Now(), 30*24*time.Hour)
	if err != nil {
		fmt.Println(err)
		return
	}
	keys, err := signing.OpenWith(ctx, ring{fresh}, "prod-eu", signing.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer keys.Close()

	welcome := jobs.Define[note]("mail:welcome", jobs.Policy{Queue: jobs.QueueMail})
	catalog, err := jobs.NewCatalog(welcome)
	if err != nil {
		fmt.Println(err)
		return
	}
	rows := newOutbox()
	r, err := relay.New(rows, catalog, keys, client, relay.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()

	// The app records a job in its transaction, commits, and may nudge the relay.
	row, err := welcome.With(note{User: 7}).Row(time.Now())
	if err != nil {
		fmt.Println(err)
		return
	}
	rows.insert(row)
	r.Nudge()

	for rows.count(jobs.RowEnqueued) == 0 {
		<-time.After(time.Millisecond)
	}
	pending, err := client.LRange(ctx, "asynq:{mail}:pending", 0, -1).Result()
	fmt.Println(len(pending), pending[0] == row.ID+".1", err)

	cancel()
	fmt.Println(<-ended)
	// Output:
	// 1 true <nil>
	// <nil>
}
