// Package audit is the record of who changed what: entries, and the hash chain over them that shows whether one was altered,
// moved, slipped in or taken out. It knows no database: drivers write an entry in the transaction of the change ([Log]), and link
// what has been committed afterwards, so that no writer waits for another. An entry never holds a secret, a password or a token.
//
// # What the chain proves, and what it does not
//
// Each link's hash covers the entry, its place and the hash before it (see [Head.Next]). So whoever knows the hash of one link
// knows all entries up to it: [Verify] names the first that is not what it was.
//
// It proves nothing about entries that are not linked yet, which somebody who writes to the database can take out unseen: the
// linker follows within about a second. And the hashes need no key: who holds the whole database can write another chain. That
// shows only against a hash kept elsewhere, so processes log the head, and [Verify] takes the one that was kept. Without it, links
// that were cut off the chain's end are not missed either.
package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Entry is one change that somebody made.
type Entry struct {
	At      time.Time         // by the database's clock; zero when it is written
	Actor   string            // who: "cli:alice", "operator:…", "worker:…"
	Action  string            // what: "quarantine.release", "outbox.reissue"
	Subject string            // about what: "quarantine/ID", "outbox/ID"
	Detail  map[string]string // facts, no secrets
}

// Log takes entries in the caller's transaction: an entry exists if, and only if, its change does. Drivers implement it:
// store/postgres for pgx.Tx, store/sqlite for *sql.Tx.
type Log[Tx any] interface {
	// AppendAudit writes the entry in tx, as Entry.Bounded makes it, at the database's time. It waits for no other writer's
	// entry.
	AppendAudit(ctx context.Context, tx Tx, e Entry) error
}

// What an entry may hold, in bytes and facts. It is cut, and never refused for its length: a name that an attacker chose must
// not keep a change from being recorded.
const (
	maxActor     = 256
	maxAction    = 64
	maxSubject   = 512
	maxFacts     = 32
	maxFactName  = 64
	maxFactValue = 1024
)

// ErrIncomplete means that an entry does not say who did what. It is a mistake in the program that wrote it.
var ErrIncomplete = errors.New("an audit entry needs an actor and an action, and at most 32 facts")

// Bounded is the entry as it is stored: texts are valid UTF-8 without control characters, and cut.
func (e Entry) Bounded() (Entry, error) {
	b := Entry{At: e.At, Actor: text(e.Actor, maxActor), Action: text(e.Action, maxAction), Subject: text(e.Subject, maxSubject)}
	if b.Actor == "" || b.Action == "" || len(e.Detail) > maxFacts {
		return Entry{}, fmt.Errorf("audit %s: %w", b.Action, ErrIncomplete)
	}
	if len(e.Detail) > 0 {
		b.Detail = make(map[string]string, len(e.Detail))
		for name, value := range e.Detail {
			b.Detail[text(name, maxFactName)] = text(value, maxFactValue)
		}
	}
	return b, nil
}

// text is s made fit to be stored and printed.
func text(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(s, string(unicode.ReplacementChar)))
	if len(s) <= limit {
		return s
	}
	for !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// ParseDetail reads the facts of an entry from the JSON object that a driver keeps them in. What is none is given back as it is,
// under one name: who damages an entry in the database must not keep the rest from being linked and verified.
func ParseDetail(stored string) map[string]string {
	var detail map[string]string
	if err := json.Unmarshal([]byte(stored), &detail); err != nil {
		return map[string]string{"unreadable": stored}
	}
	if len(detail) == 0 {
		return nil
	}
	return detail
}
