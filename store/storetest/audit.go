package storetest

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/audit"
)

// appended writes entries, each in a transaction of its own.
func (s suite[Tx]) appended(actions ...string) {
	s.Helper()
	for _, action := range actions {
		s.tx(func(tx Tx) error {
			return s.DB.AppendAudit(s.Context(), tx, audit.Entry{Actor: "cli:alice", Action: action, Subject: "test/" + action, Detail: map[string]string{"n": action}})
		})
	}
}

// chained links what there is and holds the chain to its length.
func (s suite[Tx]) chained(n int) audit.Head {
	s.Helper()
	_, err := s.DB.ChainAudit(s.Context(), 1000)
	must(s, err)
	return s.sound(n)
}

// sound holds the chain to its length.
func (s suite[Tx]) sound(n int) audit.Head {
	s.Helper()
	head, err := audit.Verify(s.Context(), s.DB, audit.Head{})
	must(s, err)
	equal(s, "links", int64(n), head.Position)
	stored, err := s.DB.AuditHead(s.Context())
	must(s, err)
	equal(s, "head", head, stored)
	return head
}

// actions are what the linked entries say was done, in order.
func (s suite[Tx]) actions() []string {
	s.Helper()
	links, err := s.DB.AuditLinks(s.Context(), 0, 1000)
	must(s, err)
	var all []string
	for _, l := range links {
		all = append(all, l.Entry.Action)
	}
	return all
}

func auditTests[Tx any]() []test[Tx] {
	return append(auditChainTests[Tx](), auditHarmTests[Tx]()...)
}

func auditChainTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"an entry comes back as it was written, at the database's time", func(s suite[Tx]) {
			e := audit.Entry{
				Actor: "cli:Ädä", Action: "quarantine.release", Subject: "quarantine/'\"<&>",
				Detail: map[string]string{"kind": "mail:confirmation", "": "a = \"b\", {}", "ä\\": "名"},
			}
			earliest := s.now()
			s.tx(func(tx Tx) error { return s.DB.AppendAudit(s.Context(), tx, e) })
			latest := s.now()
			s.appended("without detail")
			s.chained(2)
			links, err := s.DB.AuditLinks(s.Context(), 0, 1)
			must(s, err)
			equal(s, "links on a page of one", 1, len(links))
			near(s, "at", earliest, latest, links[0].Entry.At)
			e.At = links[0].Entry.At
			if diff := cmp.Diff(e, links[0].Entry); diff != "" {
				s.Errorf("entry (-want +got):\n%s", diff)
			}
		}},
		{"an entry of hostile text is written, printable and cut", func(s suite[Tx]) {
			e := audit.Entry{
				Actor: "cli:" + string(allBytes()), Action: string(allBytes()), Subject: strings.Repeat(string(allBytes()), 100),
				Detail: map[string]string{string(allBytes()): strings.Repeat("\x00", 5000)},
			}
			s.tx(func(tx Tx) error { return s.DB.AppendAudit(s.Context(), tx, e) })
			s.chained(1)
			links, err := s.DB.AuditLinks(s.Context(), 0, 10)
			must(s, err)
			want, err := e.Bounded()
			must(s, err)
			want.At = links[0].Entry.At
			if diff := cmp.Diff(want, links[0].Entry); diff != "" {
				s.Errorf("entry (-want +got):\n%s", diff)
			}
		}},
		{"an entry that does not say who did what is refused", func(s suite[Tx]) {
			err := s.DB.InTx(s.Context(), func(tx Tx) error { return s.DB.AppendAudit(s.Context(), tx, audit.Entry{Action: "a"}) })
			want(s, err, audit.ErrIncomplete)
			s.chained(0)
		}},
		{"an entry does not exist if its transaction rolls back", func(s suite[Tx]) {
			s.appended("a")
			err := s.DB.InTx(s.Context(), func(tx Tx) error {
				must(s, s.DB.AppendAudit(s.Context(), tx, audit.Entry{Actor: "cli:alice", Action: "b"}))
				return errRollback
			})
			want(s, err, errRollback)
			s.appended("c")
			s.chained(2)
			if diff := cmp.Diff([]string{"a", "c"}, s.actions()); diff != "" {
				s.Errorf("actions (-want +got):\n%s", diff)
			}
		}},
		{"linking goes on where it ended, in steps of the limit, and an empty chain has no head", func(s suite[Tx]) {
			head, err := s.DB.AuditHead(s.Context())
			must(s, err)
			equal(s, "head of the empty chain", audit.Head{}, head)
			s.chained(0)
			s.appended("a", "b", "c")
			for _, wanted := range []int{2, 1, 0} {
				n, err := s.DB.ChainAudit(s.Context(), 2)
				must(s, err)
				equal(s, "linked", wanted, n)
			}
			kept := s.sound(3)
			s.appended("d")
			s.sound(3)
			s.chained(4)
			_, err = audit.Verify(s.Context(), s.DB, kept)
			must(s, err)
		}},
		{"twenty who write and link at once make one sound chain of every entry", func(s suite[Tx]) {
			for _, err := range race(20, func(i int) error {
				for j := range 5 {
					if err := s.DB.InTx(s.Context(), func(tx Tx) error {
						return s.DB.AppendAudit(s.Context(), tx, audit.Entry{Actor: "cli:alice", Action: fmt.Sprintf("%02d.%d", i, j)})
					}); err != nil {
						return err
					}
					if _, err := s.DB.ChainAudit(s.Context(), 7); err != nil {
						return err
					}
				}
				return nil
			}) {
				must(s, err)
			}
			s.chained(100)
			seen := make(map[string]int)
			for _, action := range s.actions() {
				seen[action]++
			}
			equal(s, "actions", 100, len(seen))
		}},
	}
}

func auditHarmTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"nothing that was written is changed, taken out or replaced, linked or not", func(s suite[Tx]) {
			s.appended("a", "b")
			s.chained(2)
			s.appended("c")
			for _, statement := range []string{
				"UPDATE audit_log SET actor = 'cli:bob'",
				"UPDATE audit_log SET actor = 'cli:bob' WHERE action = 'c'",
				"UPDATE audit_log SET position = NULL, hash = NULL WHERE action = 'a'",
				"UPDATE audit_log SET position = position + 10 WHERE action = 'b'",
				"UPDATE audit_log SET action = 'x', position = 3, hash = (SELECT hash FROM audit_log WHERE position = 2) WHERE action = 'c'",
				"UPDATE audit_log SET position = 4, hash = (SELECT hash FROM audit_log WHERE position = 2) WHERE action = 'c'", // a hole before it
				"UPDATE audit_log SET position = 9223372036854775807, hash = (SELECT hash FROM audit_log WHERE position = 2) WHERE action = 'c'",
				"DELETE FROM audit_log WHERE action = 'a'",
				"DELETE FROM audit_log WHERE action = 'c'",
				"DELETE FROM audit_log",
				"INSERT INTO audit_log (at, actor, action, subject, detail, position, hash) SELECT at, actor, 'x', subject, detail, 3, hash FROM audit_log WHERE position = 2",
			} {
				if err := s.Try(s, statement); err == nil || !strings.Contains(err.Error(), "append-only") {
					s.Errorf("%s: want it refused as append-only, got %v", statement, err)
				}
			}
			s.chained(3)
		}},
		{"what somebody did to the chain past its guards is found, and the first place is named", func(s suite[Tx]) {
			s.appended("a", "b", "c", "d", "e", "f")
			kept := s.chained(6)
			s.Unguard(s)
			broken := func(position int64, statements ...string) {
				s.Helper()
				for _, statement := range statements {
					s.exec(statement)
				}
				_, err := audit.Verify(s.Context(), s.DB, kept)
				if e, ok := errors.AsType[*audit.BrokenError](err); !ok || e.Position != position {
					s.Errorf("%s: want the chain broken at %d, got %v", statements[0], position, err)
				}
			}
			broken(6, "DELETE FROM audit_log WHERE position = 6") // the end shows only against the head that was kept
			s.sound(5)
			broken(5, "UPDATE audit_log SET subject = 'another' WHERE position = 5")
			broken(4, "UPDATE audit_log SET detail = '[]' WHERE position = 4")
			broken(2, "UPDATE audit_log SET position = 60 WHERE position = 3", "UPDATE audit_log SET position = 3 WHERE position = 2", "UPDATE audit_log SET position = 2 WHERE position = 60")
			broken(1, "DELETE FROM audit_log WHERE position = 1")
			broken(1, "INSERT INTO audit_log (at, actor, action, subject, detail, position, hash) SELECT at, 'cli:bob', 'x', subject, detail, 1, hash FROM audit_log WHERE position = 2")
		}},
		{"an entry that was damaged before it was linked keeps no other from being linked", func(s suite[Tx]) {
			s.appended("a", "b", "c")
			s.Unguard(s)
			s.exec("UPDATE audit_log SET detail = '[1]' WHERE action = 'b'")
			s.chained(3)
			s.exec("UPDATE audit_log SET detail = '[2]' WHERE action = 'b'")
			_, err := audit.Verify(s.Context(), s.DB, audit.Head{})
			if e, ok := errors.AsType[*audit.BrokenError](err); !ok || e.Position != 2 {
				s.Errorf("want the chain broken at 2, got %v", err)
			}
		}},
	}
}
