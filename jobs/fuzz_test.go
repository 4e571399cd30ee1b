package jobs_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/sealq/sealq/jobs"
)

// FuzzDecodeArgs: what the strict decoder takes, the standard library takes too, and it comes back from what it
// was encoded to; what it refuses is refused with ErrInvalidArgs.
func FuzzDecodeArgs(f *testing.F) {
	for _, seed := range []string{
		`{"user":7,"text":"hi"}`, `{"user":-7,"text":"\u00fc","tags":["a","b"],"inner":{"a":[1,2.5,null,true]}}`,
		`{"user":7,"user":8}`, `{"User":7}`, `{"user":7}x`, `null`, `[]`, `{"inner":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}`,
		"{\"text\":\"\xff\"}", `{"text":"\ud800"}`, `{"user":1e3}`, ``, `{"a":`,
	} {
		f.Add([]byte(seed))
	}
	d := noteDef(jobs.Policy{})
	f.Fuzz(func(t *testing.T, payload []byte) {
		job, err := d.Parse(payload)
		if err != nil {
			if !errors.Is(err, jobs.ErrInvalidArgs) {
				t.Fatalf("the cause is not ErrInvalidArgs: %v", err)
			}
			return
		}
		std := json.NewDecoder(bytes.NewReader(payload))
		std.DisallowUnknownFields()
		if err := std.Decode(new(note)); err != nil {
			t.Fatalf("taken, but encoding/json says: %v", err)
		}
		again, err := d.Parse(job.Payload())
		if err != nil {
			t.Fatalf("what it was encoded to is refused: %v", err)
		}
		if !bytes.Equal(job.Payload(), again.Payload()) {
			t.Fatalf("encoded to %s, then to %s", job.Payload(), again.Payload())
		}
	})
}
