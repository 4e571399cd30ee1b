package accounts

import (
	"context"
	"time"
)

// Mail names a mail to the owner of an account. Two of them carry a link, whose token has the mail's name as its purpose.
type Mail string

// The mails.
const (
	MailPasswordReset   Mail = "password_reset"   // the link under which a new password is set
	MailEmailChange     Mail = "email_change"     // to the new address: the link that confirms it. To the old one: that it changes, or has changed
	MailPasswordChanged Mail = "password_changed" // that the password is another one now
	MailAccountExists   Mail = "account_exists"   // that somebody tried to register the address again
	MailLockoutNotice   Mail = "lockout_notice"   // that the account was locked after too many failures
)

// The stages of a change of address, in notices to the old one.
const (
	StageAsked   = "asked"   // the new address has not confirmed yet
	StageChanged = "changed" // mail goes to the new address from now on
)

// UserStore reads users, and changes what is theirs to choose.
type UserStore[Tx any] interface {
	// UserByID reads one user. ErrNoSuchUser for an ID that no user has, malformed ones too.
	UserByID(ctx context.Context, id string) (Owner, error)
	// SetLanguage sets the language of a user's mails, and says whether that changed anything. No such user: ErrNoSuchUser.
	SetLanguage(ctx context.Context, tx Tx, userID, language string) (changed bool, err error)
}

// RequestStore keeps what was asked for by an address, whether or not it has an account: one row for each address and mail. It looks at nothing that
// knows of accounts, so that its time tells nothing of them.
type RequestStore[Tx any] interface {
	// SaveRequest writes a request in place of the last one of that address and mail: id, asked_at = now, expires_at = now + TTL, not answered. One
	// that was not answered yet keeps its ID, or whoever asks again and again would keep its owner from ever getting an answer.
	// Where the last one was asked for less than r.NotWithin ago: ErrThrottled, and nothing is written.
	SaveRequest(ctx context.Context, tx Tx, r NewRequest) (SavedRequest, error)
	// TakeRequest marks a request as answered, and tells what was asked for. One that was answered, is over or unknown:
	// ErrNoSuchRequest. However many race, one has it. It takes the row of the user, if there is one, before the request's.
	TakeRequest(ctx context.Context, tx Tx, id string) (Request, error)
}

// TokenStore keeps what links are made of: one row for each user and purpose.
//
// Whatever changes a user and his tokens, locks the row of users first (in PostgreSQL FOR NO KEY UPDATE), so that two never wait for each other.
type TokenStore[Tx any] interface {
	// SaveToken asks for a link for the user of t.EmailNorm, or, where t.UserID is set, for the user who has both.
	//
	//   - There is no such user, he is disabled, or t.Verified is set and not his password_hash: ErrNoSuchUser.
	//   - His token of t.Purpose was asked for less than t.NotWithin ago: a *ThrottledError with the time when that is over.
	//   - It lives for t.TTL/2 or longer still, and has the same new address: it is mailed once more. asked_at = now; all else stays, so
	//     that a stranger who asks again and again does not void the owner's link.
	//   - Else it is written anew: nonce, TTL and new address from t, kid, key_hash and sent_at NULL, asked_at = now, generation =
	//     users.mail_generation, which grows by one. A link that was mailed before is dead.
	//
	// A new address that another user has is written like any other: it is refused when it is confirmed.
	SaveToken(ctx context.Context, tx Tx, t NewToken) (SavedToken, error)

	// TokenUser tells whose live token it is, and changes nothing. It may read in tx or beside it. No such token of that purpose, expired, or its
	// user is disabled: ErrUnknownToken. A NULL key_hash never matches.
	TokenUser(ctx context.Context, tx Tx, purpose Mail, keyHash [32]byte) (Owner, error)
	// LinkUser is TokenUser without a transaction.
	LinkUser(ctx context.Context, purpose Mail, keyHash [32]byte) (Owner, error)

	// RenewTokens is RenewPending for tokens: up to limit (> 0) that have that kid and whose expires_at > now, those that expire first
	// first, except those of users whom another transaction has locked. Each gets the next mail_generation of its user and a nonce() of its own;
	// kid, key_hash and sent_at become NULL; all else stays.
	RenewTokens(ctx context.Context, tx Tx, kid string, limit int, nonce func() []byte) ([]SavedToken, error)
}

// PasswordStore changes passwords. Both methods set sessions_valid_after = now, delete all tokens and devices of the user, and clear the counter of
// his address and its lock, unless an operator set that.
type PasswordStore[Tx any] interface {
	// ResetPassword gives the user of the live token r.KeyHash of MailPasswordReset a new password, in one statement (in SQLite: in one
	// transaction). However many race, one does. No such token, expired, or a disabled user: ErrUnknownToken.
	ResetPassword(ctx context.Context, tx Tx, r PasswordReset) (Owner, error)
	// ChangePassword gives the user c.UserID a new password in one statement, if his password_hash is still c.Verified and he is not
	// disabled. Else ErrRefused.
	ChangePassword(ctx context.Context, tx Tx, c PasswordChange) (Owner, error)
}

// EmailStore changes addresses.
type EmailStore[Tx any] interface {
	// ChangeEmail gives the user of the live token keyHash of MailEmailChange the token's new address, in one statement (in SQLite: in one
	// transaction), and deletes all his tokens. However many race, one does. No such token, expired, a disabled user, or one whose old address
	// an operator has locked: ErrUnknownToken. Another user has the new address, also one who gets it at the same moment: ErrAlreadyActive. With
	// both nothing has been written and tx is usable: in PostgreSQL the unique index is met within a savepoint.
	ChangeEmail(ctx context.Context, tx Tx, keyHash [32]byte) (EmailChange, error)
}

// NoticeStore keeps what owners are told.
type NoticeStore[Tx any] interface {
	// SaveNotice writes one notice, to n.UserID or, where that is empty, to the user of n.EmailNorm who is not disabled, at his address: told_at = now, expires_at = now + TTL, generation = users.mail_generation, which grows by one. It
	// deletes the user's notices whose expires_at ≤ now. No such user: ErrNoSuchUser. One of the same mail was told less than n.NotWithin
	// ago: a *ThrottledError, and nothing is written.
	SaveNotice(ctx context.Context, tx Tx, n NewNotice) (SavedToken, error)
}

// DeviceStore counts attempts from browsers that have logged in before. Like those of LoginStore its methods take no transaction, and have committed when they
// return.
type DeviceStore interface {
	// ChargeDevice is ChargeAttempt against the counter of the device tokenHash instead of the address's, if it is a device of the user of
	// emailNorm whose expires_at > now, and no operator's lock of emailNorm is in force. If it is not, known is false and nothing has been written.
	ChargeDevice(ctx context.Context, emailNorm string, tokenHash [32]byte, l Lockout) (charge Charge, known bool, err error)
	// RecordDevice is RecordLogin for a login with a known device: it resets the counter of the device and leaves the address's as it is.
	// expires_at = now + ttl.
	RecordDevice(ctx context.Context, s Login, tokenHash [32]byte, ttl time.Duration) (current bool, err error)
	// SaveDevice writes a new device of a user: expires_at = now + TTL. Of his others it deletes those that are over, and all but the Keep − 1
	// that expire last. No such user, disabled, or with another password than Verified by now: nothing is written, and current is false.
	SaveDevice(ctx context.Context, d NewDevice) (current bool, err error)
}

// NewDevice is a browser from which a user has just logged in.
type NewDevice struct {
	UserID    string
	Verified  PasswordHash // of the password that he gave
	TokenHash [32]byte
	TTL       time.Duration
	Keep      int // devices of a user
}

// LiftStore clears lockouts whose time is over, and counters that count no more.
type LiftStore[Tx any] interface {
	// LiftLockouts is the sweep lockouts:reset in tx: it deletes up to limit (> 0) rows of login_state whose locked_until ≤ now, the oldest first, except
	// those that another transaction has locked, and returns what they were. With owners it says whose accounts they were and locks those before the
	// rows, as the owners are about to be told; rows of a user whom somebody has locked wait.
	LiftLockouts(ctx context.Context, tx Tx, limit int, owners bool) ([]Lifted, error)
	// ForgetAttempts deletes up to limit (> 0) rows of login_state without a lock whose last attempt was made age ago or longer, the oldest first, except
	// those that another transaction has locked, and says how many. A store may leave a row for a day more.
	ForgetAttempts(ctx context.Context, tx Tx, age time.Duration, limit int) (int, error)
}

// Lifted is a lockout that is over.
type Lifted struct {
	EmailNorm  string
	UserID     string // "" where the address has no account, or a disabled one, and where owners were not asked for
	ByOperator bool
}

// OperatorStore is what operators do to accounts.
type OperatorStore[Tx any] interface {
	// SetDisabled sets or clears disabled_at, and says whether that changed anything. Disabling sets sessions_valid_after = now and deletes the
	// user's tokens and devices. No such user: ErrNoSuchUser.
	SetDisabled(ctx context.Context, tx Tx, userID string, disabled bool) (changed bool, err error)
	// SetLock locks emailNorm by hand, account or not: locked_until = now + d, by_operator is true, the counter stays. A lock after failures that
	// lasts longer keeps its locked_until; where one by hand lasts longer, nothing is written and changed is false. With d = 0 it clears the counter
	// and whatever lock there is, and says whether there was a lock in force or a failure. It takes the user's row
	// before the counter's, as PasswordStore does.
	SetLock(ctx context.Context, tx Tx, emailNorm string, d time.Duration) (changed bool, err error)
	// UserOf returns the ID of the user, disabled or not, who has emailNorm, "" for nobody. It is asked in a transaction that has written.
	UserOf(ctx context.Context, tx Tx, emailNorm string) (userID string, err error)
}

// RoleStore keeps who has which role.
type RoleStore[Tx any] interface {
	// SetRole gives or takes a role, and says whether that changed anything. No such user: ErrNoSuchUser. It takes the user's row first.
	SetRole(ctx context.Context, tx Tx, userID, role string, has bool) (changed bool, err error)
	// Roles lists a user's roles by their bytes, and says whether he is disabled. No such user: ErrNoSuchUser.
	Roles(ctx context.Context, userID string) (roles []string, disabled bool, err error)
}

// AuditStore is the append-only record of who changed what.
type AuditStore[Tx any] interface {
	// RecordChange enters c in tx, at the database's time.
	RecordChange(ctx context.Context, tx Tx, c Change) error
}

// Owner is a user with the address as it is compared.
type Owner struct {
	User
	EmailNorm string
}

// NewRequest is something that was asked for by an address.
type NewRequest struct {
	ID        string // UUIDv7
	EmailNorm string
	Mail      Mail          // MailPasswordReset or MailAccountExists
	TTL       time.Duration // whole milliseconds, > 0
	NotWithin time.Duration // since it was asked for last; 0: at any time
}

// SavedRequest is what stands in its row.
type SavedRequest struct {
	ID        string
	ExpiresAt time.Time
}

// Request is what is to be answered.
type Request struct {
	EmailNorm string
	Mail      Mail
}

// NewToken is a link that was asked for.
type NewToken struct {
	UserID       string // "" where the address alone tells
	EmailNorm    string // of the user, as it is now
	Purpose      Mail   // MailPasswordReset or MailEmailChange
	NewEmail     string // of MailEmailChange: as given
	NewEmailNorm string
	Verified     PasswordHash  // empty: whatever the password is
	Nonce        []byte        // 16 random bytes, from which the worker derives the key
	TTL          time.Duration // whole milliseconds, > 0
	NotWithin    time.Duration // since it was asked for last; 0: at any time
}

// SavedToken is what stands in the row of a token or a notice.
type SavedToken struct {
	UserID     string
	Purpose    Mail
	Generation uint64
	ExpiresAt  time.Time
}

// PasswordReset is one use of a link.
type PasswordReset struct {
	KeyHash      [32]byte     // KeyHash of the key's text
	PasswordHash PasswordHash // argon2id
}

// PasswordChange replaces the password that was verified.
type PasswordChange struct {
	UserID       string
	Verified     PasswordHash // the hash that the old password was compared with
	PasswordHash PasswordHash // argon2id
}

// EmailChange is what a confirmed change has done.
type EmailChange struct {
	Owner           // with the new address
	OldEmail string // as it was given
}

// NewNotice is something that an owner is to be told.
type NewNotice struct {
	UserID    string // "" where the address tells
	EmailNorm string // of the user, where UserID is ""
	Mail      Mail
	Email     string // where it goes; "" with EmailNorm: the user's address
	Stage     string // StageAsked or StageChanged, of MailEmailChange
	Detail    string // for the owner to read: no secret
	TTL       time.Duration
	NotWithin time.Duration // since the last of this mail; 0: at any time
}

// Change is an entry of the record. It holds no secret, and no address in clear.
type Change struct {
	Actor   string            // who: "user/ID", "public", or what an operator is called
	Action  string            // what: "account.password_reset"
	Subject string            // about whom: "user/ID", "pending/ID", Email.Subject of an address without account
	Detail  map[string]string // facts
}
