// Package mail decides how one message reaches one recipient, and what the answer of the server means.
//
// A [Message] is rendered once and always to the same bytes: Message-ID, Date and boundary come from the caller's values, so that
// a second copy, should there ever be one, is recognised as a copy. [Sender.Send] speaks SMTP (RFC 5321) with one server and returns
// either the [Answer] that accepted the message or a [SendError], whose [Outcome] says what to do: give the message up, try again,
// look at the settings, or accept that nobody knows. [Templates] turn a kind's data into a subject, a text and an HTML part.
//
// It refuses:
//   - control characters in anything that becomes a header or a command, several recipients, and addresses with a display name;
//   - a connection in clear, unless the server is on this machine or the URL says insecure=yes; a certificate that does not verify;
//   - templates that lack a part or name a variable which their kind does not have.
//
// It knows no queue and no database: when to send, whether the message is still wanted and what to record is for the caller to say.
package mail
