package signing

import "context"

// Authentic is a task whose signature holds, and no more: it may have expired, be of another queue or have been done before. It is
// no [Verified], so nothing that runs tasks takes it. It is for a person who decides about a refused task.
type Authentic struct {
	claims  Claims
	payload []byte
}

// Claims returns what the signature says.
func (a Authentic) Claims() Claims { return a.claims }

// Plaintext returns the payload, decrypted if it was encrypted. It shares the task's memory unless it was: do not change it.
func (a Authentic) Plaintext() []byte { return a.payload }

// VerifyAuthentic tells whether the key ring in use vouches for the task as it was received: steps 1 to 6, and that the key may sign
// the kind. It asks for nothing else, neither queue nor times nor whether the effect is done. It must never decide that a task
// runs: that is [Keys.VerifyWith]. The error is always a [*Refusal].
func (k *Keys) VerifyAuthentic(ctx context.Context, t Task, sig string) (Authentic, error) {
	s := k.scratch.get()
	defer k.scratch.put(s)

	_, dk, r := k.authenticate(ctx, s, &t, sig)
	if r != nil {
		return Authentic{}, r
	}
	h := &s.header
	a := Authentic{claims: h.claims(&t, s.effect), payload: t.Payload}
	refuse := Verified{claims: a.claims}.Refuse
	if !covers(dk.info.Kinds, t.Kind) {
		return Authentic{}, refuse(ReasonKindNotAllowed, "the key may not sign it")
	}
	if h.encrypted() {
		plaintext, err := dk.decryptPayload(&h.nonce, s.context, t.Payload)
		if err != nil {
			return Authentic{}, refuse(ReasonBadPayload, "it does not decrypt")
		}
		a.payload = plaintext
	}
	return a, nil
}
