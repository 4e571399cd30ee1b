package quarantine

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/signing"
)

// Filter says which entries are meant. All that is given must hold.
type Filter struct {
	IDs       []string       // none: whatever their ID
	OlderThan time.Duration  // since they were received; 0: however old
	Reason    signing.Reason // "": whatever the reason
	Queue     string         // "": wherever it lay
	Kind      string         // "": whatever it said it is
	// Authentic includes entries whose signature held and that were not released: only a key's holder can have made such a
	// task, though others may have copied it to where it was refused, and it may be the last trace of a job. Zero: they are left.
	Authentic bool
}

// Purged counts entries that are gone, or would be.
type Purged struct {
	Entries   int64 `json:"purged"`
	Bytes     int64 `json:"bytes"`
	Authentic int64 `json:"authentic"` // of Entries
}

// Purges is what purging asks of a store. Drivers implement it: store/postgres for pgx.Tx, store/sqlite for *sql.Tx.
type Purges[Tx any] interface {
	audit.Log[Tx]
	// PurgeRefused deletes up to limit entries, the oldest first, except those that somebody is releasing.
	PurgeRefused(ctx context.Context, tx Tx, f Filter, limit int) (Purged, error)
	// PurgeOverflow deletes the counters, and returns what they counted.
	PurgeOverflow(ctx context.Context, tx Tx) (Used, error)
	// InTx runs fn in a transaction, which an error rolls back.
	InTx(ctx context.Context, fn func(tx Tx) error) error
}

// purgeBatch is how many entries one transaction deletes.
const purgeBatch = 1000

// Purge deletes entries in batches. Each batch commits with an audit entry of its count, so that nothing goes unrecorded when it
// is interrupted; it returns what is gone by then.
func Purge[Tx any](ctx context.Context, s Purges[Tx], actor string, f Filter) (Purged, error) {
	var all Purged
	for {
		var batch Purged
		err := s.InTx(ctx, func(tx Tx) (err error) {
			if batch, err = s.PurgeRefused(ctx, tx, f, purgeBatch); err != nil || batch.Entries == 0 {
				return err
			}
			return s.AppendAudit(ctx, tx, audit.Entry{
				Actor: actor, Action: "quarantine.purge", Subject: "quarantine", Detail: f.facts(batch),
			})
		})
		if err != nil {
			return all, fmt.Errorf("purge the quarantine: %w", err)
		}
		all = Purged{Entries: all.Entries + batch.Entries, Bytes: all.Bytes + batch.Bytes, Authentic: all.Authentic + batch.Authentic}
		if batch.Entries < purgeBatch {
			return all, nil
		}
	}
}

func (f Filter) facts(p Purged) map[string]string {
	facts := map[string]string{
		"purged": strconv.FormatInt(p.Entries, 10), "bytes": strconv.FormatInt(p.Bytes, 10), "authentic": strconv.FormatInt(p.Authentic, 10),
	}
	if len(f.IDs) > 0 {
		facts["ids"] = strings.Join(f.IDs, " ")
	}
	if f.OlderThan > 0 {
		facts["older_than"] = f.OlderThan.String()
	}
	for name, value := range map[string]string{"reason": string(f.Reason), "queue": f.Queue, "kind": f.Kind} {
		if value != "" {
			facts[name] = value
		}
	}
	return facts
}

// ForgetOverflow deletes the counters of what was not kept, audited, and returns what they counted.
func ForgetOverflow[Tx any](ctx context.Context, s Purges[Tx], actor string) (Used, error) {
	var counted Used
	err := s.InTx(ctx, func(tx Tx) (err error) {
		if counted, err = s.PurgeOverflow(ctx, tx); err != nil || counted.Entries == 0 {
			return err
		}
		return s.AppendAudit(ctx, tx, audit.Entry{
			Actor: actor, Action: "quarantine.forget_overflow", Subject: "quarantine",
			Detail: map[string]string{"counted": strconv.FormatInt(counted.Entries, 10), "bytes": strconv.FormatInt(counted.Bytes, 10)},
		})
	})
	if err != nil {
		return Used{}, fmt.Errorf("forget the quarantine's overflow: %w", err)
	}
	return counted, nil
}
