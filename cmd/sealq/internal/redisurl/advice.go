package redisurl

import (
	"crypto/tls"
	"errors"
	"io"
	"strings"
)

// Advice says what to do about an error of reaching a Redis.
func Advice(err error) string {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "name the file with its authority's certificate, ?ca=PATH, or the name in its own, &servername=NAME"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "it does not speak TLS at that port: correct the URL"
	}
	if errors.Is(err, io.EOF) {
		return "if it wants TLS, write rediss://, or tls=true for sentinels and clusters"
	}
	for _, a := range advices {
		if strings.Contains(err.Error(), a.about) {
			return a.do
		}
	}
	return "start it or correct the URL"
}

// advices are by what Redis, the TLS library or go-redis answer.
var advices = []struct{ about, do string }{
	{"NOAUTH", "put USER:PASSWORD@ into the URL, but the servers' own behind sentinels as ?username=USER&password=PASSWORD"},
	{"WRONGPASS", "correct user and password in the URL; special characters are written as %40"},
	{"NOPERM", "give the user what `sealq redis-acl` prints"},
	{"cluster support disabled", "it is no cluster: write redis://, or rediss://"},
	{"invalid DB index", "correct the number behind the host"},
	{"DB index is out of range", "correct the number behind the host"},
	{"certificate required", "it wants a certificate of its clients: add ?cert=PATH&key=PATH"},
	{"sentinels specified in configuration are unreachable", "start them, or correct hosts, master, user and password in the URL"},
}
