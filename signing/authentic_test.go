package signing_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/signing"
)

// What is refused before its signature held, or may not be signed by its key, or does not decrypt, is authentic to nobody. All else
// that a worker refuses is.
func TestAuthenticIsWhatAKeysHolderSignedWhateverAWorkerSaysOfIt(t *testing.T) {
	t.Parallel()
	authentic, refused := 0, 0
	for name, a := range attacks() {
		k, task, sig := a.make(t)
		got, err := k.VerifyAuthentic(t.Context(), task, sig)
		want := !a.want.Authentic()
		if _, scoped := a.key["kinds"]; scoped || a.want == signing.ReasonBadPayload {
			want = true
		}
		if want {
			refused++
			r := refusal(t, err)
			if diff := cmp.Diff(a.want, r.Reason); diff != "" {
				t.Errorf("%s: reason (-want +got):\n%s", name, diff)
			}
			if got.Plaintext() != nil || got.Claims() != (signing.Claims{}) {
				t.Errorf("%s: it gave out %v", name, got)
			}
			checkNothingUnverified(t, r)
			continue
		}
		authentic++
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if c := got.Claims(); c.ID != task.ID || c.Kind != task.Kind || c.Queue != task.Queue || !bytes.Equal(got.Plaintext(), task.Payload) {
			t.Errorf("%s: claims %+v", name, c)
		}
	}
	if authentic < 10 || refused < 30 {
		t.Errorf("%d authentic and %d refused cases are too few", authentic, refused)
	}
}

func TestAnEncryptedTaskIsAuthenticInPlaintextLongAfterItExpired(t *testing.T) {
	t.Parallel()
	task, _ := genuine()
	clock := newClock(t0)
	k := openWith(t, &memory{ring: ringA(t)}, "test", signing.Options{Now: clock.Now})
	sig, payload, err := k.Sign(task, signing.Validity{Expires: t0.Add(time.Hour), Encrypt: true})
	if err != nil {
		t.Fatal(err)
	}
	plaintext := task.Payload
	task.Payload = payload
	clock.Set(t0.Add(48 * time.Hour))
	if _, err := k.Verify(task, sig); !errors.Is(err, signing.ErrExpired) {
		t.Fatalf("want it expired, got %v", err)
	}
	got, err := k.VerifyAuthentic(t.Context(), task, sig)
	if err != nil || !bytes.Equal(got.Plaintext(), plaintext) || !got.Claims().Encrypted || !got.Claims().Expires.Equal(t0.Add(time.Hour)) {
		t.Errorf("got %q, %+v, %v", got.Plaintext(), got.Claims(), err)
	}
}
