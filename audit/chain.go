package audit

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// domain keeps a hash of the chain from being one of anything else.
const domain = "sealq.v1.audit\x00"

// Hash is the SHA-256 of a link.
type Hash [sha256.Size]byte

// Head is a link's place and hash, and so stands for the chain up to it. The zero Head is the chain without a link.
type Head struct {
	Position int64 // from 1
	Hash     Hash
}

// Link is an entry in its place.
type Link struct {
	Head
	ID    int64 // the entry's in its database, in which order entries were written but not committed
	Entry Entry
}

// Next is the head of the chain with one more entry. All integers are big-endian, L(x) is u32 length of x in bytes, then x:
//
//	SHA-256("sealq.v1.audit\0" ‖ hash before, 32 bytes (zero for the first) ‖ u64 position ‖ u64 ID ‖ i64 Unix microseconds
//	        ‖ L(actor) ‖ L(action) ‖ L(subject) ‖ u32 n ‖ n × ( L(name) ‖ L(value) ), sorted by name bytewise)
func (h Head) Next(id int64, e Entry) Head {
	next := Head{Position: h.Position + 1}
	w := writer{sha256.New()}
	_, _ = w.Write([]byte(domain))
	_, _ = w.Write(h.Hash[:])
	for _, n := range []int64{next.Position, id, e.At.UnixMicro()} {
		_, _ = w.Write(binary.BigEndian.AppendUint64(nil, uint64(n))) //nolint:gosec // two's complement is what is meant
	}
	w.text(e.Actor)
	w.text(e.Action)
	w.text(e.Subject)
	w.count(len(e.Detail))
	for _, name := range slices.Sorted(maps.Keys(e.Detail)) {
		w.text(name)
		w.text(e.Detail[name])
	}
	w.Sum(next.Hash[:0])
	return next
}

// writer writes to a hash, which never fails.
type writer struct{ hash.Hash }

func (w writer) count(n int) {
	_, _ = w.Write(binary.BigEndian.AppendUint32(nil, uint32(n))) //nolint:gosec // a database holds no text of 4 GiB
}

func (w writer) text(s string) {
	w.count(len(s))
	_, _ = w.Write([]byte(s))
}

// String is how a head is logged and kept: its position and hash, such as 17:9f86d081….
func (h Head) String() string {
	return strconv.FormatInt(h.Position, 10) + ":" + hex.EncodeToString(h.Hash[:])
}

// ErrHead means that a text is no head.
var ErrHead = errors.New("the head of an audit chain is written POSITION:HASH, with 64 hexadecimal digits")

// ParseHead reads what String writes.
func ParseHead(s string) (Head, error) {
	number, digits, _ := strings.Cut(s, ":")
	position, err := strconv.ParseInt(number, 10, 64)
	sum, hexErr := hex.DecodeString(digits)
	if err != nil || hexErr != nil || position < 0 || len(sum) != sha256.Size {
		return Head{}, ErrHead
	}
	h := Head{Position: position, Hash: Hash(sum)}
	if position == 0 && h != (Head{}) {
		return Head{}, ErrHead
	}
	return h, nil
}

// Chain is where the links are kept.
type Chain interface {
	// AuditLinks lists up to limit links after a position, in the order of their positions. An entry that the database cannot
	// give back whole is listed with what can be read of it.
	AuditLinks(ctx context.Context, after int64, limit int) ([]Link, error)
	// AuditAnchor returns the last link that was purged, the zero Head where none was.
	AuditAnchor(ctx context.Context) (Head, error)
}

// ErrPurged means that a chain cannot be held to a head that was kept: the links up to it were purged, and nothing shows what they were. Keep a
// newer head.
var ErrPurged = errors.New("the audit chain begins behind the head that was kept, whose links were purged")

// ErrBroken is the cause of every [BrokenError].
var ErrBroken = errors.New("the audit chain is broken")

// BrokenError names the first place at which the chain is not what it was.
type BrokenError struct {
	Position int64
	ID       int64 // of the entry that stands there, 0 where none does
	why      string
}

// Error returns one sentence.
func (e *BrokenError) Error() string {
	return fmt.Sprintf("%v at position %d: %s", ErrBroken, e.Position, e.why)
}

// Unwrap returns [ErrBroken].
func (*BrokenError) Unwrap() error { return ErrBroken }

// verifyPage is how many links are read at once.
const verifyPage = 1000

// Verify walks the chain from its first link to its last, in pages, and returns its head. Where it is broken the error is a
// [*BrokenError] and the head the last sound one. kept is a head that was kept elsewhere, which the chain must lead through;
// the zero one demands nothing. The first link follows the anchor, which whoever holds the database can set as he can write
// another chain: a kept head that stands before it is [ErrPurged], and proves nothing any more.
func Verify(ctx context.Context, c Chain, kept Head) (Head, error) {
	for {
		anchor, err := c.AuditAnchor(ctx)
		if err != nil {
			return Head{}, fmt.Errorf("verify the audit chain: %w", err)
		}
		head, err := verifyFrom(ctx, c, anchor, kept)
		if err == nil {
			return head, nil
		}
		// What was purged meanwhile is missing: the chain is looked at again from where it begins now.
		if now, later := c.AuditAnchor(ctx); later != nil || now == anchor {
			return head, err
		}
	}
}

func verifyFrom(ctx context.Context, c Chain, head, kept Head) (Head, error) {
	switch {
	case kept.Position > 0 && kept.Position < head.Position:
		return Head{}, fmt.Errorf("%w: it was kept at position %d, and they were purged up to %d", ErrPurged, kept.Position, head.Position)
	case kept.Position > 0 && kept.Position == head.Position && kept.Hash != head.Hash:
		return Head{}, &BrokenError{Position: kept.Position, why: "the chain was purged up to another link than the head that was kept"}
	}
	for {
		links, err := c.AuditLinks(ctx, head.Position, verifyPage)
		if err != nil {
			return head, fmt.Errorf("verify the audit chain: %w", err)
		}
		for _, l := range links {
			next := head.Next(l.ID, l.Entry)
			switch {
			case l.Position != next.Position:
				return head, &BrokenError{Position: next.Position, why: "its entry is missing"}
			case l.Hash != next.Hash:
				return head, &BrokenError{Position: l.Position, ID: l.ID, why: fmt.Sprintf("entry %d is not what was linked there", l.ID)}
			case l.Position == kept.Position && l.Hash != kept.Hash:
				return head, &BrokenError{Position: l.Position, ID: l.ID, why: "the chain up to here is another one than the head that was kept"}
			}
			head = next
		}
		if len(links) < verifyPage {
			break
		}
	}
	if head.Position < kept.Position {
		return head, &BrokenError{Position: head.Position + 1, why: fmt.Sprintf("it ends there, and the head that was kept stands at position %d", kept.Position)}
	}
	return head, nil
}
