package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/worker/calm"
)

// Defaults of a ServerConfig's zero values.
const (
	DefaultConcurrency = 100
	DefaultFetchers    = 1
	DefaultShutdown    = 20 * time.Second
)

// ServerConfig of a Server.
type ServerConfig struct {
	// Queues and their weights: of tasks that wait in all of them, each queue gets its share. Zero: "default".
	Queues map[string]int
	// StrictPriority fetches from a queue only while all of a higher weight are empty. Zero: shares.
	StrictPriority bool
	// Concurrency is how many tasks run at once, whatever Fetchers is. Zero: 100, as most handlers wait most of
	// the time; see Limits of HandlersConfig for those that others feel.
	Concurrency int
	// Fetchers is how many fetch loops there are, each with a part of the concurrency. Zero: 1, which is the fastest up to some
	// hundred thousand tasks a minute (ADR 15 has the figures).
	Fetchers int
	// Poll is the pause between two looks at empty queues, of all fetchers together. Zero: 10 ms.
	Poll time.Duration
	// ForwardPoll is the pause between two looks for scheduled and retried tasks that are due. Zero: 1 s.
	ForwardPoll time.Duration
	// Shutdown is how long running tasks may take to finish when the server stops; those that take longer go back into their queues.
	// Zero: 20 s.
	Shutdown time.Duration
	// Callbacks are asynq's ErrorHandler, RetryDelayFunc, IsFailure and BaseContext; its other fields are not used. Zero: none.
	Callbacks asynq.Config
	// Logger. Zero: nothing is logged.
	Logger *slog.Logger
}

// Server runs verified tasks: it is several asynq servers in one process that share what each would do for itself. It closes faults of
// asynq on the way, as Verifier.Hook does.
type Server struct {
	cfg      ServerConfig
	verifier *Verifier
	handler  asynq.Handler
	hook     *calm.Hook
	fetcher  *calm.Fetcher
	servers  []*asynq.Server
	stopping atomic.Bool
	waiting  func() []string // nil: there are no breakers
}

// NewServer makes a Server on a client, which stays the caller's to close and gets no hook. next is what a Verifier's Handler takes: Handlers,
// a mux, or any asynq.Handler.
func NewServer(client redis.UniversalClient, v *Verifier, next asynq.Handler, c ServerConfig) (*Server, error) {
	if client == nil || v == nil || next == nil {
		return nil, errors.New("new server: it needs a Redis client, a verifier and a handler")
	}
	if err := c.complete(); err != nil {
		return nil, fmt.Errorf("new server: %w", err)
	}
	s := &Server{cfg: c, verifier: v, handler: v.Handler(next)}
	var inHand func(string) int
	if h, ok := next.(*Handlers); ok {
		inHand, s.waiting = h.InHand, h.Waiting
	}
	s.hook = v.hook(inHand)
	s.fetcher = calm.NewFetcher(client, s.hook, calm.FetchConfig{Queues: c.Queues, Strict: c.StrictPriority, Poll: c.Poll})
	logger := newAsynqLogger(c.Logger, v.cfg.Now)
	for n := range c.Fetchers {
		slots := c.Concurrency / c.Fetchers
		if n < c.Concurrency%c.Fetchers {
			slots++
		}
		s.servers = append(s.servers, asynq.NewServerFromRedisClient(s.fetcher.Lane(slots), v.Config(c.asynq(slots, logger))))
	}
	return s, nil
}

func (c *ServerConfig) complete() error {
	if len(c.Queues) == 0 {
		c.Queues = map[string]int{"default": 1}
	}
	c.Queues = maps.Clone(c.Queues)
	for queue, weight := range c.Queues {
		if strings.TrimSpace(queue) == "" || strings.ContainsAny(queue, "{}") || weight < 1 {
			return fmt.Errorf("queue %q with weight %d: a queue has a name without braces, and a weight above zero", queue, weight)
		}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Concurrency = orDefault(c.Concurrency, DefaultConcurrency)
	c.Fetchers = min(orDefault(c.Fetchers, DefaultFetchers), c.Concurrency)
	c.Poll = orDefault(c.Poll, calm.DefaultPoll)
	c.ForwardPoll = orDefault(c.ForwardPoll, time.Second)
	c.Shutdown = orDefault(c.Shutdown, DefaultShutdown)
	return nil
}

func orDefault[T int | time.Duration](v, zero T) T {
	if v <= 0 {
		return zero
	}
	return v
}

func (c *ServerConfig) asynq(slots int, logger asynq.Logger) asynq.Config {
	return asynq.Config{
		Queues: c.Queues, StrictPriority: c.StrictPriority, Concurrency: slots,
		TaskCheckInterval:        time.Millisecond, // the fetcher makes the pauses
		DelayedTaskCheckInterval: c.ForwardPoll, ShutdownTimeout: c.Shutdown,
		Logger: logger, LogLevel: asynq.WarnLevel,
		ErrorHandler: c.Callbacks.ErrorHandler, RetryDelayFunc: c.Callbacks.RetryDelayFunc, IsFailure: c.Callbacks.IsFailure,
		BaseContext: c.Callbacks.BaseContext,
	}
}

// shutdownSlack is added to the shutdown's time for what asynq writes at its end, before nothing waits for Redis any more.
const shutdownSlack = 5 * time.Second

// Run works until ctx ends. Then it is not Ready, stops fetching, lets running tasks finish within ServerConfig.Shutdown, puts back what was not
// begun, and returns. It runs once.
func (s *Server) Run(ctx context.Context) error {
	for n, server := range s.servers {
		if err := server.Start(s.handler); err != nil {
			return errors.Join(fmt.Errorf("start worker: %w", err), s.shutdown(context.WithoutCancel(ctx), s.servers[:n]))
		}
	}
	<-ctx.Done()
	return s.shutdown(context.WithoutCancel(ctx), s.servers)
}

func (s *Server) shutdown(ctx context.Context, servers []*asynq.Server) error {
	s.stopping.Store(true)
	s.fetcher.Stop()
	bound := time.AfterFunc(s.cfg.Shutdown+shutdownSlack, s.hook.Close)
	defer bound.Stop()
	var ending sync.WaitGroup
	for _, server := range servers {
		ending.Go(server.Shutdown)
	}
	ending.Wait()
	ctx, cancel := context.WithTimeout(ctx, shutdownSlack)
	defer cancel()
	if err := s.fetcher.GiveBack(ctx); err != nil {
		return fmt.Errorf("put tasks back that were not begun: %w", err)
	}
	return nil
}

// ErrStopping means that a Server is about to end, or has ended.
var ErrStopping = errors.New("the worker is stopping")

// Ready says why the process should not be called ready, nil if nothing speaks against it.
func (s *Server) Ready() error {
	if s.stopping.Load() {
		return ErrStopping
	}
	return s.verifier.Alarm()
}

// Detail says in one sentence each which outside systems' jobs wait: something to show beside Ready, for the other jobs go on.
func (s *Server) Detail() string {
	if s.waiting == nil {
		return ""
	}
	return strings.Join(s.waiting(), "; ")
}
