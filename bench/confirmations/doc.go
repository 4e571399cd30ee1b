// Package confirmations sends what registrations have queued, from the outbox of a real PostgreSQL through a relay, a real Redis and a
// worker to a mail server in a process of its own (mail/catcher), and tells what bounds the rate: the CPU time of each of them, and the same
// without one of them, with more and fewer connections, and with a round trip to the mail server. After each run every mail must have come
// once, with the Message-ID that the database has of it. Run it with:
//
//	go test -run '^$' -bench Table -benchtime 1x ./confirmations
package confirmations
