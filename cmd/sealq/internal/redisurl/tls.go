package redisurl

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
)

// tlsConfig is nil where TLS is off. how says how to turn it on.
func tlsConfig(query url.Values, on bool, how string) (*tls.Config, error) {
	if !on {
		for _, name := range tlsParams() {
			if query.Has(name) {
				return nil, fmt.Errorf("%s has the parameter %s, which is for TLS: %s, or leave it out", flag, name, how)
			}
		}
		return nil, nil //nolint:nilnil // no TLS, and nothing wrong with it
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: query.Get(paramServerName)}
	if path := query.Get(paramCA); path != "" {
		c.RootCAs = x509.NewCertPool()
		pem, err := os.ReadFile(path) //nolint:gosec // the path is the operator's
		if err != nil {
			return nil, unreadable(paramCA, path, err)
		}
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: ca=%s holds no certificate: name a PEM file with those of the authorities", flag, path)
		}
	}
	cert, key := query.Get(paramCert), query.Get(paramKey)
	if (cert == "") != (key == "") {
		return nil, errors.New(flag + " needs both cert=PATH and key=PATH, or neither")
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, unreadable("cert and "+paramKey, cert+" and "+key, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// unreadable does not repeat what a parser says of a file: it may hold a key.
func unreadable(name, path string, err error) error {
	if cause, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("%s: %s %s cannot be read: %w", flag, name, cause.Path, cause.Err)
	}
	return fmt.Errorf("%s: %s %s are not a certificate and its key, in PEM", flag, name, path)
}
