package storetest

import (
	"fmt"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/requests"
)

// wish makes a request that was not written yet.
func (s suite[Tx]) wish(kind requests.Kind, args map[string]string) requests.Request {
	s.Helper()
	r, err := requests.New(kind, "operator:ann", args)
	must(s, err)
	return r
}

// asked writes one.
func (s suite[Tx]) asked(kind requests.Kind, args map[string]string) requests.Request {
	s.Helper()
	r := s.wish(kind, args)
	must(s, s.DB.MakeRequest(s.Context(), r, requests.Life))
	return r
}

func (s suite[Tx]) allRequests() []requests.Request {
	s.Helper()
	all, err := s.DB.Requests(s.Context(), 100)
	must(s, err)
	return all
}

// takes claims a request, or says that none waits.
func (s suite[Tx]) takes(holder string, kinds ...requests.Kind) (requests.Request, error) {
	return s.DB.ClaimRequest(s.Context(), kinds, holder, time.Minute)
}

func (s suite[Tx]) requestEntries() (all []string) {
	s.Helper()
	links, err := s.DB.AuditPage(s.Context(), audit.Query{Action: "request."}, 100)
	must(s, err)
	for _, l := range links {
		all = append(all, l.Entry.Actor+" "+l.Entry.Action)
	}
	return all
}

func operatorRequestTests[Tx any]() []test[Tx] {
	return append([]test[Tx]{
		{"a request waits as it was made, with its entry, and the newest stands first", func(s suite[Tx]) {
			before := s.now()
			one := s.asked(requests.Release, map[string]string{"entry": "a\"\u2028ä"})
			s.backdate(time.Second)
			two := s.asked(requests.Rotate, nil)
			all := s.allRequests()
			if len(all) != 2 {
				s.Fatalf("%d requests", len(all))
			}
			near(s, "made", before, s.now(), all[0].MadeAt)
			near(s, "expires", before.Add(requests.Life), s.now().Add(requests.Life), all[0].ExpiresAt)
			one.State, two.State = requests.Waiting, requests.Waiting
			if diff := cmp.Diff([]requests.Request{two, one}, all, cmpopts.IgnoreFields(requests.Request{}, "MadeAt", "ExpiresAt"), cmpopts.EquateEmpty()); diff != "" {
				s.Errorf("requests (-want +got):\n%s", diff)
			}
			links, err := s.DB.AuditPage(s.Context(), audit.Query{Subject: one.Subject()}, 10)
			must(s, err)
			if len(links) != 1 || links[0].Entry.Actor != "operator:ann" || links[0].Entry.Detail["kind"] != string(requests.Release) {
				s.Errorf("entries: %+v", links)
			}
		}},
		{"the same is not asked for twice while it is open, however many ask at once", func(s suite[Tx]) {
			args := map[string]string{"kid": "0011aabb", "version": "7"}
			made, _ := tally(s, race(20, func(int) error {
				return s.DB.MakeRequest(s.Context(), s.wish(requests.Promote, args), requests.Life)
			}), requests.ErrAsked)
			equal(s, "made", 1, made)
			equal(s, "entries", 1, len(s.requestEntries()))
			s.asked(requests.Promote, map[string]string{"kid": "0011aabb", "version": "8"})
			r, err := s.takes("host/1", requests.Promote)
			must(s, err)
			want(s, s.DB.MakeRequest(s.Context(), s.wish(requests.Promote, args), requests.Life), requests.ErrAsked)
			_, err = s.DB.EndRequest(s.Context(), r.ID, "host/1", requests.Failed, "no")
			must(s, err)
			s.asked(requests.Promote, args)
		}},
		{"a request is taken once, the oldest first, by who can do what it is", func(s suite[Tx]) {
			_, err := s.takes("host/1", requests.Release)
			want(s, err, requests.ErrNone)
			first := s.asked(requests.Release, map[string]string{"entry": "1"})
			s.backdate(time.Second)
			s.asked(requests.Release, map[string]string{"entry": "2"})
			s.asked(requests.Revoke, nil)
			_, err = s.takes("host/1", requests.Rotate, requests.Promote)
			want(s, err, requests.ErrNone)
			_, err = s.takes("host/1")
			want(s, err, requests.ErrNone)
			got, err := s.takes("host/1", requests.Rotate, requests.Release)
			must(s, err)
			equal(s, "the oldest", first.ID, got.ID)
			equal(s, "its state", requests.Taken, got.State)
			equal(s, "its holder", "host/1", got.Holder)
			equal(s, "its argument", "1", got.Args["entry"])
			took, _ := tally(s, race(20, func(i int) error {
				_, err := s.takes(fmt.Sprintf("host/%d", i), requests.Release)
				return err
			}), requests.ErrNone)
			equal(s, "took the other", 1, took)
		}},
	}, endedRequestTests[Tx]()...)
}

func endedRequestTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"who took a request ends it once, with an entry, and nobody else does", func(s suite[Tx]) {
			r := s.asked(requests.Purge, map[string]string{"reason": "expired"})
			end := func(id, holder string) bool {
				s.Helper()
				ended, err := s.DB.EndRequest(s.Context(), id, holder, requests.Done, "12 entries purged\x00")
				must(s, err)
				return ended
			}
			equal(s, "one that waits", false, end(r.ID, ""))
			_, err := s.takes("host/1", requests.Purge)
			must(s, err)
			equal(s, "another process", false, end(r.ID, "host/2"))
			equal(s, "another request", false, end("no such", "host/1"))
			equal(s, "its holder", true, end(r.ID, "host/1"))
			equal(s, "twice", false, end(r.ID, "host/1"))
			got := s.allRequests()[0]
			equal(s, "state", requests.Done, got.State)
			equal(s, "outcome", "12 entries purged\uFFFD", got.Outcome)
			equal(s, "ended", true, !got.EndedAt.IsZero() && !got.TakenAt.IsZero())
			if diff := cmp.Diff([]string{"process:host/1 request.done", "operator:ann request.made"}, s.requestEntries()); diff != "" {
				s.Errorf("entries (-want +got):\n%s", diff)
			}
		}},
		{"what nobody took in time expires, nobody takes it then, and it can be asked for anew", func(s suite[Tx]) {
			s.asked(requests.Rotate, nil)
			s.backdate(requests.Life)
			equal(s, "state", requests.Expired, s.allRequests()[0].State)
			_, err := s.takes("host/1", requests.Rotate)
			want(s, err, requests.ErrNone)
			s.asked(requests.Rotate, nil)
		}},
		{"what a process took and did not end is lost and taken by nobody, and it may still tell how it ended", func(s suite[Tx]) {
			r := s.asked(requests.Rotate, nil)
			_, err := s.takes("host/1", requests.Rotate)
			must(s, err)
			s.backdate(time.Minute)
			equal(s, "state", requests.Lost, s.allRequests()[0].State)
			_, err = s.takes("host/2", requests.Rotate)
			want(s, err, requests.ErrNone)
			ended, err := s.DB.EndRequest(s.Context(), r.ID, "host/1", requests.Done, "it was slow")
			must(s, err)
			equal(s, "ended", true, ended)
			equal(s, "state", requests.Done, s.allRequests()[0].State)
		}},
		{"requests are forgotten after a month, when the next is made", func(s suite[Tx]) {
			s.asked(requests.Rotate, nil)
			s.backdate(requests.Kept)
			s.asked(requests.Revoke, nil)
			all := s.allRequests()
			if len(all) != 1 || all[0].Kind != requests.Revoke {
				s.Errorf("kept: %+v", all)
			}
		}},
	}
}
