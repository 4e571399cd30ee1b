package signing_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sealq/sealq/signing"
)

// TestPayloadsOfEverySize has the tests' own signer sign payloads around the size up to which they are joined to the context,
// and around the hash's blocks.
func TestPayloadsOfEverySize(t *testing.T) {
	t.Parallel()
	k := open(t, ringA(t), t0)
	for _, size := range []int{0, 1, 31, 32, 33, 63, 64, 65, 255, 256, 2047, 2048, 2049, 4096, 100_000} {
		task, e := genuine()
		task.Payload = bytes.Repeat([]byte{7}, size)
		if _, err := k.Verify(task, e.sign(t, secretA, "test", task)); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		sig, _, err := k.Sign(task, signing.Validity{Expires: t0.Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Verify(task, sig); err != nil {
			t.Errorf("%d bytes, signed here: %v", size, err)
		}
	}
}

// TestSignFindsEveryByteThatIsNoText puts a stray byte at each place of each text: what is all ASCII is not looked at one by one.
func TestSignFindsEveryByteThatIsNoText(t *testing.T) {
	t.Parallel()
	k := open(t, ringA(t), t0)
	v := signing.Validity{Expires: t0.Add(time.Hour)}
	sign := func(text [5]string) error {
		_, _, err := k.Sign(signing.Task{Queue: text[0], Kind: text[1], ID: text[2], Headers: map[string]string{text[3]: text[4]}}, v)
		return err
	}
	var plain [5]string
	for i := range plain {
		plain[i] = strings.Repeat("x", 40)
	}
	if err := sign(plain); err != nil {
		t.Fatal(err)
	}
	for i := range plain {
		for at := range len(plain[i]) {
			spoiled := plain
			spoiled[i] = plain[i][:at] + "\xff" + plain[i][at+1:]
			if err := sign(spoiled); !errors.Is(err, signing.ErrMalformed) {
				t.Errorf("byte %d of text %d: %v", at, i, err)
			}
		}
		accented := plain
		accented[i] += "é"
		if err := sign(accented); err != nil {
			t.Errorf("text %d with an accent: %v", i, err)
		}
	}
	halves := plain
	halves[0] += "\xc3"
	halves[1] = "\xa9" + halves[1] // together an é
	if err := sign(halves); !errors.Is(err, signing.ErrMalformed) {
		t.Errorf("a letter over the boundary of two texts: %v", err)
	}
}
