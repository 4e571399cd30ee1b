package app_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/cmd/sealq/internal/redisurl"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/mail/catcher"
)

const (
	// settling is how long everything may take to be over after the last job was recorded.
	settling = 90 * time.Second
	mailKey  = "asynq:{mail}:pending"
)

// upheaval is a way in which a master goes, and what it does after another has taken over.
type upheaval struct {
	how         string
	begin, then func(t *testing.T, top *testservers.Topology)
}

func upheavals() []upheaval {
	type topology = *testservers.Topology
	return []upheaval{
		{
			"the master is killed, and comes back empty",
			func(t *testing.T, top topology) { t.Helper(); top.KillMaster(t, mailKey) },
			func(t *testing.T, top topology) { t.Helper(); top.Revive(t) },
		},
		{
			"the master stands still, and takes itself for the master when it goes on",
			func(t *testing.T, top topology) { t.Helper(); top.FreezeMaster(t, mailKey) },
			func(t *testing.T, top topology) { t.Helper(); top.Thaw(t) },
		},
		{
			"the master hands over, and becomes a replica",
			func(t *testing.T, top topology) { t.Helper(); top.HandOver(t, mailKey) },
			func(*testing.T, topology) {},
		},
	}
}

func TestEveryMailIsSentOnceThoughAReplicaTakesOverFromTheMaster(t *testing.T) {
	t.Parallel()
	for form, start := range map[string]func(testing.TB, testservers.RedisOptions) *testservers.Topology{
		"with sentinels": testservers.Sentinels, "in a cluster": testservers.Cluster,
	} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			var all []*failover
			for _, u := range upheavals() { // what is left after each is waited for at once
				all = append(all, goThrough(t, u, start(t, testservers.RedisOptions{})))
			}
			settle(t, all)
		})
	}
}

// failover is a system whose Redis has failed over.
type failover struct {
	*system
	how       string
	addresses []string
	recorded  time.Time // when the last job was recorded
	left      string    // what was not over when it was last looked at, "" once all was
}

// goThrough registers people before, during and after the upheaval.
func goThrough(t *testing.T, u upheaval, top *testservers.Topology) *failover {
	t.Helper()
	where, err := redisurl.Parse(top.URL())
	check(t, err)
	client := where.Client()
	t.Cleanup(func() { check(t, client.Close()) })
	f := &failover{
		system: newSystemOn(t, "sqlite:"+filepath.Join(t.TempDir(), "sealq.db"), client), how: u.how, addresses: people(90), left: "everything",
	}
	f.mails = f.catch(slowly) // so that mails are under way when the master goes
	f.work(t)
	for i, address := range f.addresses {
		switch i {
		case 30:
			u.begin(t, top)
		case 60:
			top.AwaitPromotion(t, mailKey)
			u.then(t, top)
		}
		f.register(t, address)
	}
	f.recorded = time.Now()
	return f
}

func slowly(ctx context.Context, s catcher.Step) error {
	if s.Stage == catcher.StageData {
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// settle waits until no job is unfinished and no task is anywhere, and finds one mail for each address.
func settle(t *testing.T, all []*failover) {
	t.Helper()
	waiting := slices.Clone(all)
	for tick := time.Tick(50 * time.Millisecond); len(waiting) > 0; <-tick {
		waiting = slices.DeleteFunc(waiting, func(f *failover) bool {
			f.left = f.unsettled(t.Context())
			took := time.Since(f.recorded)
			switch {
			case f.left == "":
				t.Logf("%s: settled after %v", f.how, took)
			case took > settling:
				t.Errorf("%s: after %v there is still %s", f.how, settling, f.left)
			default:
				return false
			}
			return true
		})
	}
	for _, f := range all {
		var to []string
		for _, m := range f.mails.Messages() {
			to = append(to, m.To[0])
		}
		slices.Sort(to)
		slices.Sort(f.addresses)
		if diff := cmp.Diff(f.addresses, to); diff != "" {
			t.Errorf("%s: recipients, each once (-want +got):\n%s", f.how, diff)
		}
	}
}

// unsettled says what is not over yet, "" for nothing.
func (s *system) unsettled(ctx context.Context) string {
	unfinished, _, err := s.db.OutboxDepth(ctx)
	if err != nil {
		return err.Error()
	}
	for state, n := range unfinished {
		if n > 0 {
			return fmt.Sprintf("%d rows that are %s", n, state)
		}
	}
	for queue := range app.DefaultQueues() {
		for _, list := range []string{"pending", "active", "lease", "scheduled", "retry"} {
			n, err := s.redis.Exists(ctx, fmt.Sprintf("asynq:{%s}:%s", queue, list)).Result()
			if err != nil {
				return err.Error()
			}
			if n > 0 {
				return fmt.Sprintf("a task of %s that is %s", queue, list)
			}
		}
	}
	return ""
}
