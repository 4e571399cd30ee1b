// Package mail compares sending mails over connections that are kept with a connection for each mail, by the same Sender and as many at
// once. The server is go-smtp on loopback (mail/catcher), a round trip away; making a TCP connection takes none here, which favours the
// connection for each mail. Run it with:
//
//	go test -run '^$' -bench Table -benchtime 1x ./mail
package mail
