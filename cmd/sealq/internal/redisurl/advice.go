package redisurl

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/sealq/sealq/jobs/rawtask"
)

// Advice says what to do about an error of reaching it.
func (s Server) Advice(err error) string {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "name the file with its authority's certificate, ?ca=PATH, or the name in its own, &servername=NAME"
	}
	if s.TLS && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)) { // Redis takes the handshake for a command that goes on
		return "start it or correct the URL, which is for TLS: perhaps it does not speak it"
	}
	if errors.Is(err, io.EOF) {
		return "if it wants TLS, write rediss://, or tls=true for sentinels and clusters"
	}
	if Denied(err) {
		return "give the user what `sealq redis-acl` prints"
	}
	for _, a := range advices() {
		if strings.Contains(err.Error(), a.about) {
			return a.do
		}
	}
	return "start it or correct the URL"
}

// advices are by what Redis, the TLS library or go-redis answer.
func advices() []struct{ about, do string } {
	return []struct{ about, do string }{
		{"NOAUTH", "put USER:PASSWORD@ into the URL, but the servers' own behind sentinels as ?username=USER&password=PASSWORD"},
		{"WRONGPASS", "correct user and password in the URL; special characters are written as %40"},
		{"cluster support disabled", "it is no cluster: write redis://, or rediss://"},
		{"invalid DB index", "correct the number behind the host"},
		{"DB index is out of range", "correct the number behind the host"},
		{"certificate required", "it wants a certificate of its clients: add ?cert=PATH&key=PATH"},
		{"sentinels specified in configuration are unreachable", "start them, or correct hosts, master, user and password in the URL"},
	}
}

// Denied says whether Redis's answer is that the user may not do it, be it by a script.
func Denied(err error) bool { return rawtask.Denied(err) }
