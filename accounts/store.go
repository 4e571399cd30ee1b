package accounts

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"
	"unique"
)

// Store is all that accounts asks of a database. Tx is what the caller's transactions are: pgx.Tx, *sql.Tx.
//
// What holds for every method:
//
//   - The database's clock decides what is expired, locked or recent. The store is given durations and answers with the times that it computed;
//     accounts never compares a time from the store with a clock of its own. One statement uses one instant. In PostgreSQL that instant is
//     statement_timestamp(): now() stands still in a caller's long transaction and would let it activate what has expired.
//   - A method that takes a tx runs in it and neither commits nor rolls back. When it returns one of this package's errors it has written nothing
//     (but see ActivatePending) and tx is still usable, so conflicts are met with ON CONFLICT and not by catching a violation, which aborts a PostgreSQL transaction.
//   - A method without a tx uses a connection of its own and has committed when it returns without an error.
//   - Any other error of the database is returned wrapped with the operation. It never carries a hash, a nonce or an address.
//   - emailNorm is compared byte by byte (no citext, no NOCASE): this package has folded it already.
type Store[Tx any] interface {
	PendingStore[Tx]
	LoginStore
	StateStore
	UserStore[Tx]
	RequestStore[Tx]
	TokenStore[Tx]
	PasswordStore[Tx]
	EmailStore[Tx]
	NoticeStore[Tx]
	DeviceStore
	LiftStore[Tx]
	OperatorStore[Tx]
	RoleStore[Tx]
	AuditStore[Tx]
}

// PendingStore keeps registrations until they are activated, in the caller's transaction.
type PendingStore[Tx any] interface {
	// SavePending writes one registration:
	//
	//   - users has a row with p.EmailNorm: ErrAlreadyActive. An activation that commits while SavePending waits for its row counts:
	//     in PostgreSQL lock the pending row of the address (SELECT … FOR UPDATE) in a statement before the upsert, whose NOT EXISTS then sees the new user.
	//   - no row of pending_users has that email_norm: insert (p.ID, p.EmailNorm, p.Email, p.PasswordHash, p.Nonce, p.Language), generation 1,
	//     kid, key_hash and sent_at NULL, resend_count 0, expires_at = the database's now + p.TTL.
	//   - a row has it and its expires_at ≤ now, swept or not, or p.ReplaceLive is true: that row keeps its id and takes email, password_hash,
	//     nonce and language from p; generation grows by one; kid, key_hash and sent_at become NULL, so that the key mailed before dies in the
	//     same statement; expires_at = now + p.TTL; resend_count becomes 0 for an expired row and grows by one for a live one.
	//   - a row has it and is live, and p.ReplaceLive is false: a *PendingError with the row's expires_at.
	//   - a row has it and is live, p.ReplaceLive is true, and its asked_at > now − p.NotWithin: a *ThrottledError with the time when that is over.
	//
	// asked_at = now in whatever it writes.
	//
	// Racing calls for one address end with one row: the unique index on email_norm decides, and the loser gets the answer that the winner's
	// row makes due. SavePending returns id, generation and expires_at as they stand in the row.
	SavePending(ctx context.Context, tx Tx, p NewPending) (SavedPending, error)

	// ResendPending says that the confirmation mail of the live registration of emailNorm is asked for once more: asked_at = now and
	// resend_count grows by one; all else stays, so that the same link is mailed. None that is live: ErrNotPending. asked_at > now − notWithin: a
	// *ThrottledError with the time when that is over.
	ResendPending(ctx context.Context, tx Tx, emailNorm string, notWithin time.Duration) (SavedPending, error)

	// PendingUser tells whose registration a.KeyHash would activate, and changes nothing. It may read in tx or beside it. None: ErrUnknownKey.
	PendingUser(ctx context.Context, tx Tx, a Activation) (PendingUser, error)
	// RegistrationOf is PendingUser without a transaction.
	RegistrationOf(ctx context.Context, a Activation) (PendingUser, error)

	// ActivatePending moves the pending row whose key_hash is a.KeyHash into users, in one statement (in SQLite: in one transaction), if its
	// expires_at > now and, when a.RequireSent, its sent_at is not NULL. The user takes the pending row's id, email, email_norm
	// and language, and a.PasswordHash, or where that is empty the row's password_hash; disabled_at and sessions_valid_after are NULL; the pending row
	// is deleted. However many race, one gets the user.
	//
	// No such row (unknown, used, expired, not sent): ErrUnknownKey. Neither hash: ErrNoPassword, and the row stays. A user of that email_norm exists already (a registration and an activation
	// that raced): ErrAlreadyActive, the pending row is deleted and the user is left as it is. A NULL key_hash never matches.
	ActivatePending(ctx context.Context, tx Tx, a Activation) (User, error)

	// RenewPending voids the keys that were made with the signing key kid: up to limit (> 0) rows that have that kid and a key_hash and whose
	// expires_at > now, those that expire first first, except those that another transaction has locked (SKIP LOCKED). In each, generation grows by one,
	// nonce becomes a nonce() of its own, kid, key_hash and sent_at become NULL, and resend_count grows by one; all else stays, expires_at too.
	// It returns what then stands in the rows, in that order.
	//
	// A renewal and an activation that race end as one of them: a row that an activation has moved is not renewed, and an activation that waited for
	// a renewal finds ErrUnknownKey.
	RenewPending(ctx context.Context, tx Tx, kid string, limit int, nonce func() []byte) ([]SavedPending, error)
}

// LoginStore counts attempts to log in. None of its methods takes a transaction: a charge must survive what the caller rolls back.
type LoginStore interface {
	// ChargeAttempt counts one attempt against emailNorm before its password is looked at, and reads the user of that address, in ONE atomic
	// statement (in SQLite one BEGIN IMMEDIATE transaction) that has committed when it returns. It does the same, and writes the same row,
	// whether or not a user has that address. With the row of login_state as it was, now the database's clock, and l complete (limit and for > 0):
	//
	//   - locked_until > now (locked): failed_attempts grows by one, last_failed_at = now, locked_until stays. Allowed is false.
	//   - else the attempt is allowed. failed_attempts becomes 1 if there was no row, or locked_until is not NULL (a lock that is over, swept or
	//     not, leaves a clean slate), or l.Window > 0 and last_failed_at ≤ now − l.Window; otherwise it grows by one. last_failed_at = now.
	//     locked_until = now + l.For if the new failed_attempts ≥ l.Limit, else NULL. Allowed is true: the attempt that reaches
	//     the limit is still verified, the next one is not.
	//
	// LockedFor is locked_until − now after the statement, zero if it is not locked. User is nil when users has no such email_norm.
	// by_operator becomes false where the attempt is allowed.
	//
	// Allowed must come from the old row's lock and not from comparing the new counter with the limit: limits are reconfigured and
	// locks are set by hand. Of n racing calls on a clean slate exactly min(n, limit) are allowed.
	ChargeAttempt(ctx context.Context, emailNorm string, l Lockout) (Charge, error)

	// RecordLogin tells that the attempt had the right password. In one statement or transaction of its own: if users still has s.UserID with
	// password_hash = s.Verified and disabled_at NULL, and no operator's lock of s.EmailNorm is in force, it sets password_hash = s.Upgraded unless that is empty, leaves login_state of
	// s.EmailNorm as if never charged (failed_attempts 0 and locked_until NULL, or no row), and returns true. If not (the password was changed or
	// the account disabled while the hash was computed) it writes nothing and returns false.
	RecordLogin(ctx context.Context, s Login) (current bool, err error)
}

// StateStore reads one account for people who look at it.
type StateStore interface {
	// AccountState reads, in one statement, what the store knows about emailNorm. An unknown address is the zero State and no error.
	AccountState(ctx context.Context, emailNorm string) (State, error)
}

// Notifier is told of mails that a change makes due. It records them in tx (an outbox row), so that they exist exactly if the change does.
// It must not send anything itself.
type Notifier[Tx any] interface {
	// ConfirmationWanted asks for the mail with the activation key of that generation. Nothing should be sent after expiresAt.
	// An error of it ends Register or RenewKeys, whose caller rolls back.
	ConfirmationWanted(ctx context.Context, tx Tx, pendingID string, generation uint64, expiresAt time.Time) error
	// AccountMailWanted asks for a mail to the owner of an account: mail is a Mail, the generation that of a token or a notice. Nothing
	// should be sent after expiresAt. An error of it ends the change, which the caller rolls back.
	AccountMailWanted(ctx context.Context, tx Tx, mail, userID string, generation uint64, expiresAt time.Time) error
	// RequestWanted asks for a worker to call Answer for what somebody asked for by an address. Nothing should be done after expiresAt.
	// An error of it ends the request, which the caller rolls back.
	RequestWanted(ctx context.Context, tx Tx, requestID string, expiresAt time.Time) error
}

// NewPending is a registration to be written. It has been validated.
type NewPending struct {
	ID           string        // UUIDv7; unused if the address's row is replaced
	Email        string        // as given: where mail goes
	EmailNorm    string        // for uniqueness
	PasswordHash PasswordHash  // argon2id; empty, as password_hash then is: the account gets one with its activation
	Nonce        []byte        // 16 random bytes, from which the worker derives the key
	TTL          time.Duration // expires_at = the database's now + TTL; whole milliseconds, > 0
	ReplaceLive  bool          // a live registration is replaced too, instead of a PendingError
	NotWithin    time.Duration // since the live registration's mail was asked for; 0: at any time
	Language     string        // a BCP 47 tag of at most 35 bytes; "": the deployment's
}

// SavedPending is what stands in the row after SavePending or RenewPending.
type SavedPending struct {
	ID         string
	Generation uint64
	ExpiresAt  time.Time
}

// Activation is one attempt to use a key.
type Activation struct {
	KeyHash      [32]byte     // KeyHash of the key's text; pending_users.key_hash holds these 32 bytes
	RequireSent  bool         // only if sent_at is not NULL
	PasswordHash PasswordHash // argon2id, of the user instead of the registration's; empty: the registration's
}

// PendingUser is whose registration a key activates.
type PendingUser struct {
	ID           string
	Email        string
	EmailNorm    string
	PasswordHash PasswordHash // empty: none
}

// Charge is the answer to a charged attempt.
type Charge struct {
	Allowed   bool          // the password may be verified
	LockedFor time.Duration // > 0: the identifier is locked from here on, for that long by the database's clock
	User      *Credentials  // nil: nobody has that address
}

// Credentials are a user with what proves its password.
type Credentials struct {
	User
	PasswordHash PasswordHash
	Disabled     bool // disabled_at is not NULL
}

// Login is a successful verification to be recorded.
type Login struct {
	UserID    string
	EmailNorm string       // whose counter is reset
	Verified  PasswordHash // the hash that the password was compared with
	Upgraded  PasswordHash // its replacement; empty: keep it
}

// State is what the store knows about one normalised address. Expired and Locked are judged by the database's clock.
type State struct {
	User           *Credentials // nil: none; PasswordHash may be left empty
	Pending        *PendingState
	FailedAttempts int        // of login_state as it stands, 0 without a row
	LastFailedAt   *time.Time // nil: never, or reset
	LockedUntil    *time.Time // as it stands, also when it is over
	Locked         bool       // LockedUntil is in the future
	ByOperator     bool       // Locked, and by an operator: not after failures
	Language       string     // of the user, else of the registration; "" where neither has one
}

// PendingState is a registration as an operator sees it.
type PendingState struct {
	ID         string
	Email      string
	Generation uint64
	ExpiresAt  time.Time
	Expired    bool       // ExpiresAt ≤ now: not swept yet
	SentAt     *time.Time // nil: the mail was not accepted yet
}

// redacted is what a secret shows of itself.
const redacted = "(redacted)"

// PasswordHash is a PHC or bcrypt string that prints as "(redacted)" wherever it ends up, and compares with ==. Only RevealText gives it out; a driver must
// use it, because handing the value itself to a database library may store the redacted text.
type PasswordHash struct {
	// A handle and not the text: where fmt meets a wrong verb behind a pointer, it prints fields without asking for methods.
	text unique.Handle[string]
}

// NewPasswordHash takes a hash as it stands in the database. It does not judge it; Authenticate does.
func NewPasswordHash(text string) PasswordHash {
	if text == "" {
		return PasswordHash{}
	}
	return PasswordHash{text: unique.Make(text)}
}

// RevealText returns the hash for the database.
func (h PasswordHash) RevealText() string {
	if h.IsZero() {
		return ""
	}
	return h.text.Value()
}

// IsZero says whether there is no hash.
func (h PasswordHash) IsZero() bool { return h == PasswordHash{} }

// Format redacts under every verb.
func (PasswordHash) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue redacts.
func (PasswordHash) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText redacts, in JSON too.
func (PasswordHash) MarshalText() ([]byte, error) { return []byte(redacted), nil }
