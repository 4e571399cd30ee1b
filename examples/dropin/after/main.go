// Command dropin is a small app that does its slow work in the background, with asynq:
//
//	dropin -redis redis://localhost:6379/0 signup alice     enqueues what a new user needs
//	dropin -redis redis://localhost:6379/0 work             does it, until interrupted
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
)

func main() {
	redisURL := flag.String("redis", "redis://localhost:6379/0", "the URL of the queue's Redis")
	flag.Parse()
	redis := must(asynq.ParseRedisURI(*redisURL))
	keys := must(signing.Open(context.Background(), "file:keys.json", "prod-eu"))
	app := app{out: os.Stdout}
	switch flag.Arg(0) {
	case "signup":
		client := jobs.Wrap(asynq.NewClient(redis), keys)
		welcome := must(client.Enqueue(newWelcome(flag.Arg(1))))
		resize := must(client.Enqueue(newResize(flag.Arg(1)+".png"), asynq.MaxRetry(3)))
		check(client.Close())
		app.say("enqueued", welcome.ID, resize.ID)
	case "work":
		cfg := asynq.Config{
			Concurrency: 4, Queues: map[string]int{"default": 2, "low": 1}, TaskCheckInterval: 100 * time.Millisecond,
			ErrorHandler: asynq.ErrorHandlerFunc(app.report), LogLevel: asynq.WarnLevel,
		}
		verify := must(worker.New(keys, worker.Config{}))
		srv := asynq.NewServer(verify.Conn(redis), verify.Config(cfg))
		check(srv.Run(verify.Handler(app.newMux())))
	default:
		flag.Usage()
		os.Exit(2)
	}
}

// welcome is what email:welcome carries.
type welcome struct {
	User string `json:"user"`
}

func newWelcome(user string) *asynq.Task {
	return asynq.NewTask("email:welcome", must(json.Marshal(welcome{User: user})), asynq.Timeout(time.Minute))
}

func newResize(image string) *asynq.Task {
	return asynq.NewTask("image:resize", []byte(image), asynq.Queue("low"), asynq.Unique(time.Hour))
}

// app does the work and says so on out.
type app struct{ out io.Writer }

func (a app) newMux() *asynq.ServeMux {
	mux := asynq.NewServeMux()
	mux.Use(a.logged)
	mux.HandleFunc("email:welcome", a.sendWelcome)
	mux.HandleFunc("image:resize", a.resize)
	return mux
}

func (a app) logged(next asynq.Handler) asynq.Handler {
	return asynq.HandlerFunc(func(ctx context.Context, task *asynq.Task) error {
		a.say("started", task.Type(), string(task.Payload()))
		return next.ProcessTask(ctx, task)
	})
}

func (a app) sendWelcome(_ context.Context, task *asynq.Task) error {
	var args welcome
	if err := json.Unmarshal(task.Payload(), &args); err != nil {
		return fmt.Errorf("welcome: %w: %w", asynq.SkipRetry, err)
	}
	a.say("welcomed", args.User)
	return nil
}

var errNoImage = errors.New("it is no image")

func (a app) resize(_ context.Context, task *asynq.Task) error {
	image := string(task.Payload())
	if strings.HasPrefix(image, "broken") {
		return fmt.Errorf("resize %s: %w: %w", image, asynq.SkipRetry, errNoImage)
	}
	a.say("resized", image)
	return nil
}

func (a app) report(_ context.Context, task *asynq.Task, err error) {
	a.say("reported", task.Type(), err.Error())
}

func (a app) say(what string, facts ...string) {
	fmt.Fprintln(a.out, what, strings.Join(facts, " "))
}

func must[T any](v T, err error) T {
	check(err)
	return v
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "dropin:", err)
		os.Exit(1)
	}
}
