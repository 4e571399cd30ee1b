// Package accounts decides who may register, activate and log in, who gets a new password or address, and who may do what. It knows no queue, no database and no mail: a Store keeps the rows, a Notifier
// records which mails are due, and both take part in the caller's transaction.
//
// # Registration and activation
//
// Register validates, hashes the password, writes a pending row and asks for its confirmation mail, all in the caller's transaction. The mailed key
// belongs to one generation of that row, and the password to the same generation: registering again, where that is allowed, kills the older key.
// Activate moves the row to the users by the SHA-256 of the key's text (KeyHash), only before it expires by the database's clock, and once.
//
// Who registers an address need not be who has it. Where anybody can register, the password must be that of whoever opens the link, or a stranger who
// registers an address first has a password in the account that its owner confirms. So register without one (Registration.PasswordLater), and ask for
// it behind the link: ActivateWithPassword. An app that asks for it when somebody registers asks for it once more behind the link: ActivateProving.
// Activate alone is for registrations that nobody but the address's owner or an operator makes.
//
// RenewKeys voids the keys that were derived from a signing key that leaked, and asks for their mails anew.
// Registration errors tell whether an address is taken. What answers to the public must give one reply for all of them.
//
// # Authentication
//
// Authenticate takes no transaction, because the charge for an attempt must survive whatever the caller rolls back. The attempt is charged in the
// store before the password is looked at, so that parallel guesses cannot all start below the limit. The attempt that reaches Lockout.Limit is
// verified, the next one is not. While locked, every attempt gets the same ErrRefused, is recorded, and prolongs nothing; when the time is over the
// slate is clean, swept or not; a success resets it. All of it goes by the normalised address, whether or not there is such an account, and an unknown
// account costs the same password hash, so that neither the answer nor its time tells. What time does tell: that an identifier is locked (no hash is
// computed), and that an account still has a bcrypt hash or one of another cost, until its next login upgrades it.
//
// AuthenticateDevice is the same for apps that give browsers a token after a success: attempts with it have a counter and a lock of their own, so that a
// stranger who keeps an address locked keeps nobody out of his own browsers. ProveDevice is the same for a password that is asked for again.
//
// # Passwords and addresses that change
//
// RequestReset records what was asked for, by the address, and looks at nothing that knows of accounts, so that neither the answer nor its time tells of one. Answer,
// which a worker calls, looks, and mails a link to whoever has an account. ResetPassword takes its key. Whoever is logged in gives his
// password once more, to Prove, which is charged like a login, and takes the Proof to ChangePassword or RequestEmailChange: these are in the caller's
// transaction, and the charge must not be. Each new password ends sessions (User.SessionsValidAfter), links and devices, and its owner is told. A new
// address counts when the link that was mailed to it is opened (ConfirmEmailChange), and only while nothing has come in between; the old one is told
// both times. Keys are of one purpose each, are derived when they are mailed, and are stored as their hash, as those of confirmations are.
//
// A link that is asked for again in its first half is mailed once more as it is, so that a stranger who asks again and again does not void it; nothing is
// mailed to one account more often than every Config.MailEvery.
//
// Register, ResetPassword and ChangePassword hash the new password within the caller's transaction, before they lock a row, which is fine in PostgreSQL
// for as long as the caller has locked none. In SQLite a transaction keeps all other writers waiting, and a hash takes long while many log in: there
// prepare what takes time before the transaction begins (PrepareRegistration; PrepareReset or PrepareChange, and SetPassword).
//
// # Operators and roles
//
// Operator disables, locks and gives roles, and signs for it. An operator's lock is lifted by neither a success, a new password nor a device. Nobody has a role
// unless one was granted. Require guards a function or an http.Handler, and answers the same to an unknown user as to one who lacks a role.
//
// # The record
//
// Every change is entered in the store's append-only log, in the transaction of the change: who, what, whom. No entry holds a secret or an address in
// clear. Attempts to log in are no changes: their counters are.
//
// # Addresses
//
// ParseEmail takes one plain local@domain. It refuses display names, comments, several addresses, quoted local parts, spaces, control, zero-width and other
// invisible characters, IP addresses, domains without a dot (localhost too; use something.localhost), a local part over 64 bytes, an address
// over 254, and non-ASCII characters that turn into ASCII when normalised or when their case is changed (U+212A K, U+0130 İ, U+0131 ı, U+017F ſ,
// full-width forms), because they would let one address pass for another. For uniqueness the local part is folded as Unicode's toNFKC_Casefold does,
// independent of language, but for ß, which stays what it is, and the domain is in its ASCII form (IDNA lookup). Tags (+) and dots stay. Mail goes to the
// address as it was given.
//
// # Passwords
//
// New hashes are argon2id in PHC strings. Imported bcrypt hashes are verified and replaced at the next login; passwords over 72 bytes never match them, because
// bcrypt would look at the first 72 only. Passwords are hashed in Unicode's NFC (SP 800-63B), bcrypt ones as they come. They are valid UTF-8 of 1 to
// 1,024 bytes without NUL, whatever the policy says; the rest is the policy's.
package accounts
