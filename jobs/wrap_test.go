package jobs_test

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/internal/fixture"
	"github.com/sealq/sealq/jobs/rawtask"
	"github.com/sealq/sealq/signing"
)

// kept is all that Redis keeps of one enqueued task, but for what no two enqueues have in common.
type kept struct {
	Hash    map[string]string // without the message; the moment it became pending as "set"
	Message map[string]any
	Headers map[string]string
	Lists   map[string]bool // where the task stands
	Score   int64           // in the scheduled set
	Lock    time.Duration   // left of the unique lock
}

func keptOf(t *testing.T, c *redis.Client, queue, id string) kept {
	t.Helper()
	ctx, prefix := t.Context(), "asynq:{"+queue+"}:"
	k := kept{Hash: fixture.Stored(t, c, queue, id), Lists: map[string]bool{}}
	k.Message, k.Headers = fixture.Fields(t, k.Hash["msg"])
	delete(k.Hash, "msg")
	if _, pending := k.Hash["pending_since"]; pending {
		k.Hash["pending_since"] = "set"
	}
	for _, list := range []string{"pending", "active"} {
		if _, err := c.LPos(ctx, prefix+list, id, redis.LPosArgs{}).Result(); err == nil {
			k.Lists[list] = true
		}
	}
	for _, set := range []string{"scheduled", "retry", "archived", "completed"} {
		if score, err := c.ZScore(ctx, prefix+set, id).Result(); err == nil {
			k.Lists[set] = true
			k.Score = int64(score)
		}
	}
	if key := k.Hash["unique_key"]; key != "" {
		if holder := c.Get(ctx, key).Val(); holder != id {
			t.Errorf("the unique lock is held by %q, not by the task %s", holder, id)
		}
		k.Lock = c.PTTL(ctx, key).Val()
	}
	queues, err := c.SMembers(ctx, "asynq:queues").Result()
	if err != nil || !strings.Contains(strings.Join(queues, " "), queue) {
		t.Errorf("queue %s is not announced: %v %v", queue, queues, err)
	}
	return k
}

// wrapped are two clients that differ in nothing but the signature, each on a Redis of its own.
type wrapped struct {
	keys          *signing.Keys
	plain         *asynq.Client
	client        *jobs.Client
	plainRedis    *redis.Client
	wrappedRedis  *redis.Client
	wrappedReader *rawtask.Reader
}

func newWrapped(t *testing.T) wrapped {
	t.Helper()
	w := wrapped{keys: fixture.Keys(t), plainRedis: testservers.Redis(t).Client(t), wrappedRedis: testservers.Redis(t).Client(t)}
	w.plain = asynq.NewClientFromRedisClient(w.plainRedis)
	w.client = jobs.Wrap(asynq.NewClientFromRedisClient(w.wrappedRedis), w.keys)
	w.wrappedReader = rawtask.NewReader(w.wrappedRedis)
	return w
}

// verify finds the signature good over what is stored.
func (w wrapped) verify(t *testing.T, queue, id string) signing.Claims {
	t.Helper()
	return verifyStored(t, w.wrappedReader, w.keys, queue, id)
}

func verifyStored(t *testing.T, r *rawtask.Reader, k *signing.Keys, queue, id string) signing.Claims {
	t.Helper()
	task, err := r.Lookup(t.Context(), queue, id)
	if err != nil {
		t.Fatal(err)
	}
	if !task.Placed {
		t.Errorf("the task %s is %s by its hash and nowhere to be found", id, task.State)
	}
	v, err := k.Verify(signing.Task{
		Kind: task.Kind, ID: task.ID, Queue: task.Queue, MaxRetry: task.MaxRetry, Headers: task.Headers, Payload: task.Payload,
	}, task.Headers[signing.SignatureHeader])
	if refusal, ok := errors.AsType[*signing.Refusal](err); ok && refusal.Reason == signing.ReasonNotYetDue {
		return refusal.Claims // it is authentic
	}
	if err != nil {
		t.Fatalf("verify what Redis holds: %v", err)
	}
	return v.Claims()
}

func TestWrapStoresWhatAsynqStores(t *testing.T) {
	t.Parallel()
	ways := map[string]wrapped{"": newWrapped(t), ", by the resolver": newWrapped(t)}
	jobs.ResolveAll(ways[", by the resolver"].client)
	now := time.Now()
	type options = []asynq.Option
	tests := map[string]struct {
		task    options // given to NewTask
		enqueue options // given to Enqueue
		headers map[string]string
		payload []byte // nil: some text
		none    bool   // the payload is nil
		mixed   bool   // when it is due counts from the call
	}{
		"no option":                         {},
		"no payload":                        {none: true},
		"an empty payload":                  {payload: []byte{}},
		"a payload that is no text":         {payload: []byte{0xff, 0, 0x80}},
		"queue":                             {enqueue: options{asynq.Queue("low")}},
		"queue with capitals and blanks":    {enqueue: options{asynq.Queue(" Low Prio ")}},
		"max retry":                         {enqueue: options{asynq.MaxRetry(3)}},
		"no retry":                          {enqueue: options{asynq.MaxRetry(0)}},
		"negative max retry":                {enqueue: options{asynq.MaxRetry(-7)}},
		"most retries":                      {enqueue: options{asynq.MaxRetry(math.MaxInt32)}},
		"timeout":                           {enqueue: options{asynq.Timeout(90 * time.Second)}},
		"timeout with part of a second":     {enqueue: options{asynq.Timeout(1500 * time.Millisecond)}},
		"timeout of less than a second":     {enqueue: options{asynq.Timeout(500 * time.Millisecond)}},
		"timeout zero":                      {enqueue: options{asynq.Timeout(0)}},
		"negative timeout":                  {enqueue: options{asynq.Timeout(-5 * time.Second)}},
		"deadline":                          {enqueue: options{asynq.Deadline(now.Add(time.Hour))}},
		"past deadline":                     {enqueue: options{asynq.Deadline(now.Add(-time.Hour))}},
		"deadline before 1970":              {enqueue: options{asynq.Deadline(time.Unix(-5, 0))}},
		"deadline at 1970":                  {enqueue: options{asynq.Deadline(time.Unix(0, 0))}},
		"deadline half a second after 1970": {enqueue: options{asynq.Deadline(time.Unix(0, 5e8))}},
		"zero deadline":                     {enqueue: options{asynq.Deadline(time.Time{})}},
		"timeout and deadline":              {enqueue: options{asynq.Timeout(time.Minute), asynq.Deadline(now.Add(time.Hour))}},
		"timeout of less than a second and deadline": {enqueue: options{asynq.Timeout(time.Millisecond), asynq.Deadline(now.Add(time.Hour))}},
		"unique":                                       {enqueue: options{asynq.Unique(time.Hour)}},
		"unique for a second":                          {enqueue: options{asynq.Unique(time.Second)}},
		"unique with part of a second":                 {enqueue: options{asynq.Unique(90*time.Second + 900*time.Millisecond)}},
		"unique without a payload":                     {enqueue: options{asynq.Unique(time.Hour)}, none: true},
		"unique with an empty payload":                 {enqueue: options{asynq.Unique(time.Hour)}, payload: []byte{}},
		"unique and process at":                        {enqueue: options{asynq.Unique(time.Hour), asynq.ProcessAt(now.Add(2 * time.Hour))}},
		"unique and process in":                        {enqueue: options{asynq.Unique(time.Minute), asynq.ProcessIn(10 * time.Minute)}, mixed: true},
		"unique for a second and process in":           {enqueue: options{asynq.Unique(time.Second), asynq.ProcessIn(10900 * time.Millisecond)}, mixed: true},
		"unique and process in part of a second":       {enqueue: options{asynq.Unique(time.Minute), asynq.ProcessIn(900 * time.Millisecond)}, mixed: true},
		"unique and process at a time that is past":    {enqueue: options{asynq.Unique(time.Minute), asynq.ProcessAt(now.Add(-time.Hour))}},
		"process at":                                   {enqueue: options{asynq.ProcessAt(now.Add(time.Hour))}},
		"process at a time that is past":               {enqueue: options{asynq.ProcessAt(now.Add(-time.Hour))}},
		"process at the zero time":                     {enqueue: options{asynq.ProcessAt(time.Time{})}},
		"process in":                                   {enqueue: options{asynq.ProcessIn(time.Hour)}, mixed: true},
		"process in with part of a second":             {enqueue: options{asynq.ProcessIn(2*time.Hour + 700*time.Millisecond)}, mixed: true},
		"process in a negative time":                   {enqueue: options{asynq.ProcessIn(-time.Hour)}},
		"process in after process at":                  {enqueue: options{asynq.ProcessAt(now.Add(time.Hour)), asynq.ProcessIn(2 * time.Hour)}, mixed: true},
		"task ID":                                      {enqueue: options{asynq.TaskID("order-4711")}},
		"retention":                                    {enqueue: options{asynq.Retention(time.Hour)}},
		"retention of less than a second":              {enqueue: options{asynq.Retention(900 * time.Millisecond)}},
		"negative retention":                           {enqueue: options{asynq.Retention(-time.Hour)}},
		"headers":                                      {headers: map[string]string{"trace": "00-ab", "": "blank", "tenant": "ö"}},
		"an option that is not asynq's":                {enqueue: options{foreignOption{asynq.Queue("low")}}},
		"an option that is none":                       {enqueue: options{nil}},
		"options of the task":                          {task: options{asynq.Queue("low"), asynq.MaxRetry(2), asynq.Timeout(time.Minute), asynq.Retention(time.Minute)}},
		"options of the task, some changed on enqueue": {task: options{asynq.Queue("low"), asynq.MaxRetry(2), asynq.ProcessIn(time.Hour)}, enqueue: options{asynq.Queue("high"), asynq.ProcessIn(0)}},
		"each option of the task that can be read": {task: options{
			asynq.Queue("low"), asynq.MaxRetry(2), asynq.TaskID("order-of the task"), asynq.Timeout(time.Minute), asynq.Unique(time.Hour),
			asynq.ProcessIn(time.Hour), asynq.Retention(time.Minute),
		}, mixed: true},
		"options of the task without an ID, and some of the call": {task: options{asynq.MaxRetry(2)}, enqueue: options{asynq.Queue("high")}},
		"a deadline of the task":                                  {task: options{asynq.Deadline(now.Add(time.Hour)), asynq.Queue("low")}},
		"a time of the task at which it is due":                   {task: options{asynq.ProcessAt(now.Add(time.Hour))}},
		"an option of the task that is not asynq's":               {task: options{foreignOption{asynq.Queue("low")}}},
		"an option of the task that is none":                      {task: options{nil}},
		"everything": {
			task:    options{asynq.Queue("low"), asynq.MaxRetry(2), asynq.Timeout(time.Hour), asynq.Unique(time.Hour), asynq.Retention(time.Hour)},
			enqueue: options{asynq.TaskID("everything"), asynq.MaxRetry(9), asynq.Deadline(now.Add(9 * time.Hour)), asynq.ProcessAt(now.Add(5 * time.Hour))},
			headers: map[string]string{"trace": "00-cd"},
		},
	}
	for name, test := range tests {
		for how, w := range ways {
			t.Run(name+how, func(t *testing.T) {
				t.Parallel()
				payload := test.payload
				if payload == nil && !test.none {
					payload = []byte(`{"name":"` + name + `"}`)
				}
				task := asynq.NewTaskWithHeaders("test:"+name, payload, test.headers, test.task...)
				wantInfo, err := w.plain.EnqueueContext(t.Context(), task, test.enqueue...)
				if err != nil {
					t.Fatal(err)
				}
				gotInfo, err := w.client.EnqueueContext(t.Context(), task, test.enqueue...)
				if err != nil {
					t.Fatal(err)
				}
				want := keptOf(t, w.plainRedis, wantInfo.Queue, wantInfo.ID)
				got := keptOf(t, w.wrappedRedis, gotInfo.Queue, gotInfo.ID)

				claims := w.verify(t, gotInfo.Queue, gotInfo.ID)
				if claims.Kind != "test:"+name || claims.ID != gotInfo.ID || claims.MaxRetry != gotInfo.MaxRetry {
					t.Errorf("the signature is over %+v", claims)
				}
				if len(got.Headers[signing.SignatureHeader]) != 104 {
					t.Errorf("signature %q", got.Headers[signing.SignatureHeader])
				}
				delete(got.Headers, signing.SignatureHeader)
				if !strings.HasPrefix(wantInfo.ID, "order") && !strings.HasPrefix(wantInfo.ID, "every") { // asynq's choice
					delete(want.Message, "id")
					delete(got.Message, "id")
				}
				if late := got.Lock - want.Lock; late.Abs() > 1100*time.Millisecond {
					t.Errorf("the unique lock is held for %v, asynq holds it for %v", got.Lock, want.Lock)
				}
				if late := got.Score - want.Score; late != 0 && (!test.mixed || late < 0 || late > 2) {
					t.Errorf("due at %d, with asynq at %d", got.Score, want.Score)
				}
				want.Lock, want.Score, got.Lock, got.Score = 0, 0, 0, 0
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("asynq stores the first, Wrap the second:\n%s", diff)
				}
				if diff := cmp.Diff(wantInfo.State, gotInfo.State); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// foreignOption says that it is one of asynq's, which asynq ignores: it goes by its own types.
type foreignOption struct{ asynq.Option }

// Fails when asynq builds its Task or options in another way. Then all is resolved, which is slower and as right.
func TestWrapReadsTheOptionsOfATask(t *testing.T) {
	t.Parallel()
	if !jobs.ReadsOptions(newWrapped(t).client) {
		t.Error("asynq.Task or its options are not what they were: look at them and mend plainOptions")
	}
}

func TestWrapLeavesTheCallersOptionsAsTheyWere(t *testing.T) {
	t.Parallel()
	w := newWrapped(t)
	backing := []asynq.Option{asynq.MaxRetry(1), asynq.Queue("of the caller")}
	info, err := w.client.Enqueue(asynq.NewTask("test:slice", nil), backing[:1]...)
	if err != nil {
		t.Fatal(err)
	}
	if info.Queue != "default" || backing[1].Value() != "of the caller" {
		t.Errorf("the call wrote behind its options: %v; queue %s", backing, info.Queue)
	}
}

func TestUniqueLockIsAsynqsToTheSecond(t *testing.T) {
	t.Parallel()
	seconds := func(d time.Duration) time.Duration { return d.Truncate(time.Second) }
	for delay := time.Duration(1); delay < 15*time.Second; delay += 37*time.Millisecond + 13 {
		for _, unique := range []time.Duration{time.Second, 1001 * time.Millisecond, 1499 * time.Millisecond, 1500 * time.Millisecond, 1999 * time.Millisecond, time.Minute, time.Hour + 1} {
			want := seconds(delay + unique)
			option := jobs.UniqueFor(want, delay)
			for _, later := range []time.Duration{0, time.Microsecond, time.Millisecond, 300 * time.Millisecond} {
				if got := seconds(delay - later + option); got != want || option < time.Second {
					t.Fatalf("Unique(%v) due in %v locks for %v; passed on %v later as Unique(%v) it locks for %v", unique, delay, want, later, option, got)
				}
			}
		}
	}
}

func TestWrapLeavesTheTaskAsItWas(t *testing.T) {
	t.Parallel()
	w := newWrapped(t)
	headers := map[string]string{
		"trace": "00-ab", signing.SignatureHeader: "of an earlier task", signing.EffectHeader: "of an earlier task",
	}
	task := asynq.NewTaskWithHeaders("test:again", []byte("payload"), headers)
	info, err := w.client.Enqueue(task)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(headers, maps.Clone(task.Headers())); diff != "" || string(task.Payload()) != "payload" {
		t.Errorf("the task was changed: %s, %q", diff, task.Payload())
	}
	// A handler's own task enqueued once more is a task of its own, not the same effect again.
	if claims := w.verify(t, info.Queue, info.ID); claims.Effect != info.ID {
		t.Errorf("the effect is %q, not the task's own ID", claims.Effect)
	}
	_, stored := fixture.Fields(t, fixture.Stored(t, w.wrappedRedis, info.Queue, info.ID)["msg"])
	delete(stored, signing.SignatureHeader)
	if diff := cmp.Diff(map[string]string{"trace": "00-ab"}, stored); diff != "" {
		t.Error(diff)
	}
}

func TestWrapSignsForAsLongAsItIsTold(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		maxAge time.Duration
		opts   []asynq.Option
		want   time.Duration // from now to the signature's end
	}{
		"unset, for the ring's max_lifetime":       {0, nil, fixture.MaxLifetime},
		"unset and delayed, from now all the same": {0, []asynq.Option{asynq.ProcessIn(time.Hour)}, fixture.MaxLifetime},
		"an hour":                     {time.Hour, nil, time.Hour},
		"an hour from when it is due": {time.Hour, []asynq.Option{asynq.ProcessIn(2 * time.Hour)}, 3 * time.Hour},
		"longer than the ring allows, as long as it does": {2 * fixture.MaxLifetime, nil, fixture.MaxLifetime},
	}
	w := newWrapped(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := jobs.Wrap(asynq.NewClientFromRedisClient(w.wrappedRedis), w.keys)
			client.MaxAge = test.maxAge
			before := time.Now()
			info, err := client.Enqueue(asynq.NewTask("test:age", nil), test.opts...)
			if err != nil {
				t.Fatal(err)
			}
			late := w.verify(t, info.Queue, info.ID).Expires.Sub(before) - test.want
			if late < -2*time.Millisecond || late > 5*time.Second {
				t.Errorf("it ends %v after what was asked for", late)
			}
		})
	}
}

func TestWrapIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	w := newWrapped(t)
	task := asynq.NewTask("test:many", []byte("x"))
	errs := make(chan error)
	for i := range 32 {
		go func() {
			want := asynq.Queue("q" + strconv.Itoa(i%4))
			info, err := w.client.Enqueue(task, want, asynq.MaxRetry(i), asynq.Unique(time.Duration(i+1)*time.Hour), asynq.TaskID(fmt.Sprint("t", i)))
			if err == nil && (info.Queue != "q"+strconv.Itoa(i%4) || info.MaxRetry != i) {
				err = fmt.Errorf("task %d got %s and %d retries", i, info.Queue, info.MaxRetry)
			}
			if errors.Is(err, asynq.ErrDuplicateTask) {
				err = nil
			}
			errs <- err
		}()
	}
	for range 32 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestClientHasAsynqsMethods(t *testing.T) {
	t.Parallel()
	want, got := reflect.TypeFor[*asynq.Client](), reflect.TypeFor[*jobs.Client]()
	for method := range want.Methods() {
		mine, ok := got.MethodByName(method.Name)
		if !ok {
			t.Errorf("no method %s", method.Name)
			continue
		}
		for i := 1; i < method.Type.NumIn(); i++ {
			if method.Type.In(i) != mine.Type.In(i) {
				t.Errorf("%s takes %v, not %v", method.Name, mine.Type, method.Type)
			}
		}
		if method.Type.NumIn() != mine.Type.NumIn() || method.Type.NumOut() != mine.Type.NumOut() || method.Type.IsVariadic() != mine.Type.IsVariadic() {
			t.Errorf("%s is %v, not %v", method.Name, mine.Type, method.Type)
		}
	}
	client := jobs.Wrap(asynq.NewClient(asynq.RedisClientOpt{Addr: testservers.Redis(t).Addr()}), fixture.Keys(t))
	if err := client.Ping(); err != nil {
		t.Error(err)
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	if err := client.Ping(); err == nil {
		t.Error("a closed client still reaches Redis")
	}
}
