package signing_test

import (
	"bytes"
	"encoding/json"
	"os"
	"sync"
	"testing"

	"github.com/sealq/sealq/signing"
)

type wycheproof struct {
	NumberOfTests int `json:"numberOfTests"`
	TestGroups    []struct {
		KeySize int `json:"keySize"` // bits
		TagSize int `json:"tagSize"` // bits: shorter tags are cut
		Tests   []struct {
			ID      int      `json:"tcId"`
			Comment string   `json:"comment"`
			Key     hexBytes `json:"key"`
			Message hexBytes `json:"msg"`
			Tag     hexBytes `json:"tag"`
			Result  string   `json:"result"`
		} `json:"tests"`
	} `json:"testGroups"`
}

// TestWycheproof holds the tags' HMAC against Wycheproof's cases: computed again and again from the same pooled states, by
// several goroutines at once, with the message in one piece and in two.
func TestWycheproof(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/wycheproof/hmac_sha256_test.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc wycheproof
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	valid, invalid, ours := 0, 0, 0
	for _, g := range doc.TestGroups {
		for _, c := range g.Tests {
			mac := signing.NewMAC(c.Key)
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					for cut := 0; cut <= len(c.Message); cut += 1 + len(c.Message)/5 {
						sum := mac(c.Message[:cut], c.Message[cut:])
						if got := bytes.Equal(sum[:g.TagSize/8], c.Tag); got != (c.Result == "valid") {
							t.Errorf("case %d (%s) is %s, but the tag's equality is %v", c.ID, c.Comment, c.Result, got)
						}
					}
				})
			}
			wg.Wait()
			switch c.Result {
			case "valid":
				valid++
			case "invalid":
				invalid++
			default:
				t.Errorf("case %d has the result %q", c.ID, c.Result)
			}
			if g.KeySize == 256 && g.TagSize == 256 {
				ours++
			}
		}
	}
	if valid+invalid != doc.NumberOfTests || valid == 0 || invalid == 0 || ours == 0 {
		t.Errorf("ran %d valid and %d invalid ones of %d, %d with keys and tags like ours", valid, invalid, doc.NumberOfTests, ours)
	}
}
