package requests_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/requests"
)

// book is a store in memory, whose own behaviour storetest holds the drivers to.
type book struct {
	mu      sync.Mutex
	waits   []requests.Request
	ended   []string
	trouble error // of every claim
	claims  int
}

func (b *book) ClaimRequest(_ context.Context, kinds []requests.Kind, holder string, _ time.Duration) (requests.Request, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.claims++
	if b.trouble != nil {
		return requests.Request{}, b.trouble
	}
	i := slices.IndexFunc(b.waits, func(r requests.Request) bool { return slices.Contains(kinds, r.Kind) })
	if i < 0 {
		return requests.Request{}, requests.ErrNone
	}
	r := b.waits[i]
	b.waits = slices.Delete(b.waits, i, i+1)
	r.Holder = holder
	return r, nil
}

func (b *book) EndRequest(ctx context.Context, id, holder string, state requests.State, outcome string) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return false, err
	}
	b.ended = append(b.ended, id+" "+string(state)+" by "+holder+": "+outcome)
	return id != "not mine", nil
}

func (b *book) all() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.ended)
}

// waiting is a book in which requests of that kind wait.
func waiting(kind requests.Kind, ids ...string) *book {
	b := &book{}
	for _, id := range ids {
		b.waits = append(b.waits, requests.Request{ID: id, Kind: kind, Actor: "operator:ann"})
	}
	return b
}

func carrier(t *testing.T, b requests.Store, deed requests.Deed, change ...func(*requests.Config)) *requests.Carrier {
	t.Helper()
	c := requests.Config{Holder: "host/1", Deeds: map[requests.Kind]requests.Deed{requests.Rotate: deed}}
	for _, f := range change {
		f(&c)
	}
	made, err := requests.NewCarrier(b, c)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestACarrierTellsHowEachRequestEnded(t *testing.T) {
	t.Parallel()
	for sentence, c := range map[string]struct {
		deed requests.Deed
		want string
	}{
		"done":      {func(context.Context, requests.Request) (string, error) { return "It is done.", nil }, "done by host/1: It is done."},
		"it failed": {func(context.Context, requests.Request) (string, error) { return "half", errors.New("the ring moved") }, "failed by host/1: the ring moved"},
		"it panics": {func(context.Context, requests.Request) (string, error) { panic("secret") }, "failed by host/1: the program broke down over it: its log says where"},
		"it took too long": {func(ctx context.Context, _ requests.Request) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		}, "failed by host/1: It took longer than 1m0s, and this may be half done: look before you ask again. context deadline exceeded"},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := waiting(requests.Rotate, "r1")
				if err := carrier(t, b, c.deed).Carry(t.Context()); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff([]string{"r1 " + c.want}, b.all()); diff != "" {
					t.Errorf("told (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestACarrierTakesOnlyWhatItCanDo(t *testing.T) {
	t.Parallel()
	b := waiting(requests.Release, "r1")
	never := func(context.Context, requests.Request) (string, error) { t.Error("it was done"); return "", nil }
	if err := carrier(t, b, never).Carry(t.Context()); !errors.Is(err, requests.ErrNone) {
		t.Errorf("want ErrNone, got %v", err)
	}
	if err := carrier(t, waiting(requests.Rotate, "not mine"), func(context.Context, requests.Request) (string, error) { return "", nil }).Carry(t.Context()); err == nil {
		t.Error("that what it did was not its own to do is no error")
	}
	for sentence, c := range map[string]requests.Config{
		"without a name": {Deeds: map[requests.Kind]requests.Deed{requests.Rotate: never}},
		"without a deed": {Holder: "host/1"},
	} {
		if _, err := requests.NewCarrier(b, c); err == nil {
			t.Errorf("%s: there is a carrier", sentence)
		}
	}
}

// A process that ends lets what it has begun know, waits for it, and tells how it ended: else nobody would ever know.
func TestAtItsEndACarrierTellsHowWhatItHadBegunEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := waiting(requests.Rotate, "r1", "r2")
		ctx, stop := context.WithCancel(t.Context())
		begun := make(chan struct{})
		c := carrier(t, b, func(ctx context.Context, r requests.Request) (string, error) {
			if r.ID != "r1" {
				t.Errorf("%s was begun after the end", r.ID)
			}
			close(begun)
			<-ctx.Done()
			return "", ctx.Err()
		})
		ended := make(chan error, 1)
		go func() { ended <- c.Run(ctx) }()
		<-begun
		stop()
		if err := <-ended; err != nil {
			t.Errorf("it ended with %v", err)
		}
		if diff := cmp.Diff([]string{"r1 failed by host/1: The process was stopped, and this may be half done: look before you ask again. context canceled"}, b.all()); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
	})
}

func TestACarrierLooksEverySoOftenAndTellsTroubleOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &book{trouble: errors.New("no database")}
		var told bytes.Buffer
		done := make(chan string, 10)
		c := carrier(t, b, func(_ context.Context, r requests.Request) (string, error) { done <- r.ID; return "", nil },
			func(c *requests.Config) { c.Logger = slog.New(slog.NewTextHandler(&told, nil)) })
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- c.Run(ctx) }()
		time.Sleep(10*time.Second + time.Millisecond) // of synctest's clock
		b.mu.Lock()
		if b.claims != 11 {
			t.Errorf("in ten seconds it looked %d times, want once a second", b.claims)
		}
		b.trouble, b.waits = nil, waiting(requests.Rotate, "r1", "r2", "r3").waits
		b.mu.Unlock()
		time.Sleep(time.Second)
		synctest.Wait()
		if len(done) != 3 {
			t.Errorf("%d were done within a second, want all three", len(done))
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if n := strings.Count(told.String(), "are not carried out"); n != 1 {
			t.Errorf("the trouble was told %d times: %s", n, told.String())
		}
	})
}
