package jobs_test

import (
	"context"
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
)

// ring is a key ring in memory. An app reads its own with signing.Open(ctx, "file:keys.json", "prod-eu").
type ring struct{ *signing.Ring }

func newRing() (ring, error) {
	r, err := signing.NewRing(time.Now(), 30*24*time.Hour)
	return ring{r}, err
}

func (r ring) Load(context.Context) (*signing.Ring, error) { return r.Ring, nil }
func (ring) String() string                                { return "memory" }

// WelcomeArgs are what the job carries, in JSON.
type WelcomeArgs struct {
	UserID int64  `json:"user_id"`
	Locale string `json:"locale"`
}

// A definition is a value: whoever enqueues and the worker that handles it share it.
func ExampleDefine() {
	welcome := jobs.Define[WelcomeArgs]("mail:welcome", jobs.Policy{Queue: jobs.QueueMail, MaxAge: time.Hour})
	if err := welcome.Err(); err != nil {
		fmt.Println(err)
		return
	}
	job := welcome.With(WelcomeArgs{UserID: 7, Locale: "de"}, jobs.In(10*time.Minute))
	fmt.Println(job.Kind(), string(job.Payload()))

	// Arguments in JSON are decoded as strictly as a worker decodes them.
	_, err := welcome.Parse([]byte(`{"user_id": 7, "UserID": 8}`))
	fmt.Println(err != nil)

	fmt.Println(jobs.Define[WelcomeArgs]("mail:welcome", jobs.Policy{Queue: "{mail}"}).Err())
	// Output:
	// mail:welcome {"user_id":7,"locale":"de"}
	// true
	// define "mail:welcome": invalid name: queue "{mail}" must not contain braces
}

// The enqueuer signs a job and puts it into Redis at once.
func ExampleEnqueuer() {
	ctx := context.Background()
	server, err := miniredis.Run() // an app has a Redis
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	keyRing, err := newRing()
	if err != nil {
		fmt.Println(err)
		return
	}
	keys, err := signing.OpenWith(ctx, keyRing, "prod-eu", signing.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer keys.Close()
	client := asynq.NewClient(asynq.RedisClientOpt{Addr: server.Addr()})
	defer client.Close()

	enqueuer, err := jobs.NewEnqueuer(client, keys, jobs.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	welcome := jobs.Define[WelcomeArgs]("mail:welcome", jobs.Policy{Queue: jobs.QueueMail, MaxAge: time.Hour})
	receipt, err := enqueuer.Enqueue(ctx, welcome.With(WelcomeArgs{UserID: 7}, jobs.ID("welcome-7")))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(receipt.Kind, receipt.Queue, receipt.ID)

	_, err = enqueuer.Enqueue(ctx, welcome.With(WelcomeArgs{UserID: 7}, jobs.ID("welcome-7")))
	fmt.Println(err)
	// Output:
	// mail:welcome mail welcome-7
	// enqueue mail:welcome: a task with this ID is already in the queue: welcome-7
}

// An app that has asynq wraps its client; its tasks and options stay as they are.
func ExampleWrap() {
	ctx := context.Background()
	server, err := miniredis.Run() // an app has a Redis
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	keyRing, err := newRing()
	if err != nil {
		fmt.Println(err)
		return
	}
	keys, err := signing.OpenWith(ctx, keyRing, "prod-eu", signing.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer keys.Close()

	client := jobs.Wrap(asynq.NewClient(asynq.RedisClientOpt{Addr: server.Addr()}), keys)
	defer client.Close()

	info, err := client.Enqueue(asynq.NewTask("image:resize", []byte("cat.png"), asynq.Queue("low"), asynq.TaskID("cat")))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(info.ID, info.Queue, info.State, "signed:", info.Headers[signing.SignatureHeader] != "")

	_, err = client.Enqueue(asynq.NewTask("image:resize", nil), asynq.Group("batch"))
	fmt.Println(err)
	// Output:
	// cat low pending signed: true
	// enqueue image:resize: asynq.Group cannot be signed: aggregation makes a new task; enqueue the tasks one by one
}
