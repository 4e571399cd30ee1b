// Package accounts decides who may register, activate and log in. It knows no queue, no database and no mail: a Store keeps the rows, a Notifier
// records which mails are due, and both take part in the caller's transaction.
//
// # Registration and activation
//
// Register validates, hashes the password, writes a pending row and asks for its confirmation mail, all in the caller's transaction. The mailed key
// belongs to one generation of that row, and the password to the same generation: registering again, where that is allowed, kills the older key.
// Activate moves the row to the users by the SHA-256 of the key's text (KeyHash), only before it expires by the database's clock, and once.
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
// # Addresses
//
// ParseEmail takes one plain local@domain. It refuses display names, comments, several addresses, quoted local parts, spaces, control, zero-width and other
// invisible characters, IP addresses, domains without a dot (localhost too; use something.localhost), a local part over 64 bytes, an address
// over 254, and non-ASCII characters that turn into ASCII when normalised or when their case is changed (U+212A K, U+0130 İ, U+0131 ı, U+017F ſ,
// full-width forms), because they would let one address pass for another. For uniqueness the local part is NFKC and lower case, character by character
// and independent of language, and the domain is in its ASCII form (IDNA lookup). Tags (+) and dots stay. Mail goes to the address as it was given.
//
// # Passwords
//
// New hashes are argon2id in PHC strings. Imported bcrypt hashes are verified and replaced at the next login; passwords over 72 bytes never match them, because
// bcrypt would look at the first 72 only. Passwords are hashed in Unicode's NFC (SP 800-63B), bcrypt ones as they come. They are valid UTF-8 of 1 to
// 1,024 bytes without NUL, whatever the policy says; the rest is the policy's.
package accounts
