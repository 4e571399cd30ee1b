package signing_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sealq/sealq/signing"
)

// newRingFile makes a ring in a file, as `sealq keys init` does.
func newRingFile() (path string, remove func()) {
	folder, err := os.MkdirTemp("", "ring")
	if err != nil {
		panic(err)
	}
	ring, err := signing.NewRing(time.Now(), 30*24*time.Hour)
	if err != nil {
		panic(err)
	}
	path = filepath.Join(folder, "keys.json")
	if err := signing.NewFile(path).Create(ring); err != nil {
		panic(err)
	}
	return path, func() { _ = os.RemoveAll(folder) }
}

// An enqueuer signs what a worker verifies. Both follow the same ring, under the same audience.
func Example() {
	path, remove := newRingFile()
	defer remove()

	keys, err := signing.Open(context.Background(), "file:"+path, "prod-eu")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer keys.Close()

	task := signing.Task{Kind: "mail:welcome", ID: "42", Queue: "mail", MaxRetry: 5, Payload: []byte(`{"user":"u1"}`)}
	sig, payload, err := keys.Sign(task, signing.Validity{Expires: time.Now().Add(time.Hour)})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(sig), "characters in the header", signing.SignatureHeader)

	task.Payload = payload // what travelled
	verified, err := keys.Verify(task, sig)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s runs with %s\n", verified.Claims().Kind, verified.Payload())

	task.Queue = "critical" // somebody copied it
	_, err = keys.Verify(task, sig)
	fmt.Println(errors.Is(err, signing.ErrBadSignature))
	// Output:
	// 104 characters in the header sealq-sig
	// mail:welcome runs with {"user":"u1"}
	// true
}

// A worker demands more than a good signature, and learns whether a refusal is for good.
func ExampleKeys_VerifyWith() {
	path, remove := newRingFile()
	defer remove()
	keys, err := signing.Open(context.Background(), "file:"+path, "prod-eu")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer keys.Close()

	rules := signing.Rules{
		ServesQueue: func(queue string) bool { return queue == "mail" },
		Kind: func(kind string) (signing.KindRule, bool) {
			return signing.KindRule{MaxAge: 24 * time.Hour, MustEncrypt: true}, kind == "mail:reset"
		},
	}
	due := time.Now().Add(10 * time.Minute)
	for _, encrypt := range []bool{false, true} {
		task := signing.Task{Kind: "mail:reset", ID: "43", Queue: "mail", Payload: []byte(`{}`)}
		sig, payload, err := keys.Sign(task, signing.Validity{NotBefore: due, Expires: due.Add(time.Hour), Encrypt: encrypt})
		if err != nil {
			fmt.Println(err)
			return
		}
		task.Payload = payload
		_, err = keys.VerifyWith(context.Background(), task, sig, rules)
		if refusal, ok := errors.AsType[*signing.Refusal](err); ok {
			fmt.Println(refusal.Reason, "authentic:", refusal.Authentic(), "deferred:", refusal.Deferred())
		}
	}
	// Output:
	// must_be_encrypted authentic: true deferred: false
	// not_yet_due authentic: true deferred: true
}

// A rotation publishes a key, waits until every host knows it, and promotes it. The old key goes on verifying what it signed.
func ExampleFile_Update() {
	path, remove := newRingFile()
	defer remove()
	ctx, file := context.Background(), signing.NewFile(path)

	ring, err := file.Update(ctx, func(r *signing.Ring) (*signing.Ring, error) {
		return r.Rotate(time.Now(), nil)
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	published := ring.Keys()[1].KID
	_, err = file.Update(ctx, func(r *signing.Ring) (*signing.Ring, error) {
		return r.Promote(published, time.Now(), signing.DefaultPropagationGrace)
	})
	fmt.Println("at once:", errors.Is(err, signing.ErrTooYoung))
	ring, err = file.Update(ctx, func(r *signing.Ring) (*signing.Ring, error) {
		return r.Promote(published, time.Now().Add(5*time.Minute), signing.DefaultPropagationGrace)
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, key := range ring.Keys() {
		fmt.Println("five minutes later:", key.State)
	}
	fmt.Println("version", ring.Version())
	// Output:
	// at once: true
	// five minutes later: retiring
	// five minutes later: active
	// version 3
}

// A secret that leaked is revoked together with the promotion of another key, here a new one.
func ExampleRing_RevokeActive() {
	ring, err := signing.NewRing(time.Now(), time.Hour)
	if err != nil {
		fmt.Println(err)
		return
	}
	ring, err = ring.RevokeActive(ring.Keys()[0].KID, signing.KID{}, time.Now())
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, key := range ring.Keys() {
		fmt.Println(key.State)
	}
	// Output:
	// revoked
	// active
}

// The token of a link can be made again from its row, so that only its hash needs storing.
func ExampleKeys_Token() {
	path, remove := newRingFile()
	defer remove()
	keys, err := signing.Open(context.Background(), "file:"+path, "prod-eu")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer keys.Close()
	nonce := []byte("16 random bytes!")
	token, kid, err := keys.Token(signing.KID{}, "confirmation", "p-1", 1, nonce)
	if err != nil {
		fmt.Println(err)
		return
	}
	again, _, err := keys.Token(kid, "confirmation", "p-1", 1, nonce)
	fmt.Println(len(token), token == again, err)
	// Output: 43 true <nil>
}

// A source that watches tells at once when it begins, and then whenever the ring may have changed. Keys does this by itself.
func ExampleFile_Watch() {
	path, remove := newRingFile()
	defer remove()
	file := signing.NewFile(path)

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var versions []uint64
	err := file.Watch(ctx, func() {
		ring, err := file.Update(ctx, func(r *signing.Ring) (*signing.Ring, error) {
			if r.Version() == 3 {
				return r, nil // nothing is written
			}
			return r.Rotate(time.Now(), nil)
		})
		if err != nil {
			fmt.Println(err)
		}
		if versions = append(versions, ring.Version()); ring.Version() == 3 {
			stop()
		}
	})
	fmt.Println(versions, errors.Is(err, context.Canceled))
	// Output:
	// [2 3] true
}
