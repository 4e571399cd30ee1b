package mail_test

import (
	"bytes"
	netmail "net/mail"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/mail"
)

func TestADecentServerOfTheFieldTakesEveryMailOnceAndRefusesWhatItShould(t *testing.T) {
	t.Parallel()
	const limit = 20_000 // bytes
	key := publish(t, rsaKey(t, 2048), "rsa")
	postfix, there := testservers.NewPostfix(t, testservers.PostfixConfig{Limit: limit, Mailboxes: []string{"ann"}})
	if !there {
		t.Log("Postfix is not to be had; what it shows is shown with go-smtp by the other tests")
		return
	}
	sender := newSender(t, mail.Config{URL: postfix.URL(), DKIM: mail.DKIM{Domain: "example.com", Selector: "mail1", Key: key.pem}})
	if err := sender.PingFrom(bounded(t)); err != nil {
		t.Fatal(err)
	}
	const workers, each = 4, 5
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for i := range each {
				m := numbered(w*each + i)
				m.Text = ".\nGrüße\n..\n" + strings.Repeat("x", 3000) + "\n"
				if _, err := sender.Send(bounded(t), m, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()

	nobody := numbered(100)
	nobody.To = "nobody@example.org"
	_, err := sender.Send(bounded(t), nobody, nil)
	if diff := cmp.Diff(failure{mail.StageRcpt, 550, mail.OutcomePermanent}, failureOf(t, err)); diff != "" {
		t.Error(diff)
	}
	abroad := numbered(101)
	abroad.To = "ann@example.net"
	_, err = sender.Send(bounded(t), abroad, nil)
	if diff := cmp.Diff(failure{mail.StageRcpt, 554, mail.OutcomePermanent}, failureOf(t, err)); diff != "" {
		t.Error(diff)
	}
	large := numbered(102)
	large.Text = strings.Repeat("many words\n", limit/10)
	_, err = sender.Send(bounded(t), large, nil)
	if diff := cmp.Diff(failure{mail.StageAnswer, 552, mail.OutcomePermanent}, failureOf(t, err)); diff != "" {
		t.Error(diff)
	}
	if _, err := sender.Send(bounded(t), numbered(workers*each), nil); err != nil {
		t.Errorf("the session after refusals: %v", err)
	}
	if got := sender.Stats(); got.Dialled > workers || got.Open != got.Idle {
		t.Errorf("the connections were not kept: %+v", got)
	}

	want := once(workers*each + 1)
	eventually(t, "delivery", func() bool { return len(postfix.Mails(t, "ann")) >= len(want) })
	got := make(map[string]int)
	for _, data := range postfix.Mails(t, "ann") {
		m, err := netmail.ReadMessage(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		got[strings.Trim(m.Header.Get("Message-ID"), "<>")]++
		if _, err := key.verify(bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n"))); err != nil {
			t.Errorf("what Postfix delivered does not verify: %v", err)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
