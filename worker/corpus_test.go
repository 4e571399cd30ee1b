package worker_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/signing/attack"
)

func TestTheCorpusReachesNoTypedHandler(t *testing.T) {
	t.Parallel()
	s := newRange(t)
	stop := s.target(s.ring, nil)
	defer stop()
	f, _ := s.forge()
	cases := attack.Cases()
	for i, c := range f.Bits() {
		if i%13 == 0 { // 48 of 624, some in each field
			cases = append(cases, c)
		}
	}
	fired := 0
	for _, c := range s.loadAll(cases) {
		if c.Ring != nil {
			continue
		}
		if fired%8 == 0 { // the first one proves the key, too
			s.genuine()
		}
		fired++
		s.fire(c)
	}
	s.genuine()
	s.requireUnharmed()
	if fired < 120 {
		t.Errorf("only %d cases were fired", fired)
	}
}

func TestTheCorpusReachesNoHandlerOfAMux(t *testing.T) {
	t.Parallel()
	s := newRange(t)
	mux := asynq.NewServeMux()
	for _, pattern := range []string{"mail", "mail:confirmation", "MAIL", "other:"} {
		mux.HandleFunc(pattern, func(ctx context.Context, _ *asynq.Task) error {
			id, _ := asynq.GetTaskID(ctx)
			s.ran.add(id)
			return nil
		})
	}
	stop := s.target(s.ring, mux)
	defer stop()
	matched, fired := 0, 0
	for _, c := range s.loadAll(attack.Cases()) {
		if c.Class != attack.Mux {
			continue
		}
		if _, pattern := mux.Handler(asynq.NewTask(c.Task.Kind, nil)); pattern != "" {
			matched++
		}
		if fired%8 == 0 {
			s.genuine()
		}
		fired++
		s.fire(c)
	}
	s.genuine()
	s.requireUnharmed()
	if matched < 14 {
		t.Errorf("only %d of %d cases have a kind that a pattern of the mux matches: the others show nothing", matched, fired)
	}
}

func TestTheCorpusReachesNoHandlerWhateverTheRingSaysOfTheKey(t *testing.T) {
	t.Parallel()
	s := newRange(t)
	fired := 0
	for _, c := range s.loadAll(attack.Cases()) {
		if c.Ring != nil {
			fired++
			s.fireAtItsRing(c)
		}
	}
	s.requireUnharmed()
	if fired < 8 {
		t.Errorf("only %d cases want another ring", fired)
	}
}

// fireAtItsRing starts a target for the case alone, and ends with what the ring's own active key signed.
func (s *shootingRange) fireAtItsRing(c loaded) {
	s.t.Helper()
	stop := s.target(c.Ring, nil)
	defer stop()
	s.fire(c)
	task := signing.Task{
		Kind: "mail:confirmation", ID: "genuine" + c.mark, Queue: "mail", MaxRetry: 3,
		Headers: map[string]string{}, Payload: []byte(`{"attack":"none"}`),
	}
	sig, _, err := s.keys.Sign(task, signing.Validity{Expires: time.Now().Add(30 * time.Minute)})
	if c.Want == signing.ReasonKindNotAllowed && errors.Is(err, signing.ErrKindNotAllowed) {
		return // nor may an honest enqueuer
	}
	if err != nil {
		s.t.Fatalf("%s: %v", c, err)
	}
	task.Headers[signing.SignatureHeader] = sig
	s.passes(task, genuineTask{})
}
