package config

import (
	"fmt"
	"net/url"
	"strings"
)

const hidden = "***"

// ParseURL parses a URL that may hold a password. Its error repeats nothing of the text. It refuses what a
// person and a program read in two ways: an unescaped character in a password would make a part of it look like
// a host, a port or a path, and that would be printed.
//
// Several hosts may stand with commas between them; they are in Host as they are in the text.
func ParseURL(flag, text string) (*url.URL, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	authority, tail := split(rest)
	userinfo, hosts := "", authority
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		userinfo, hosts = authority[:at+1], authority[at+1:]
	}
	first, others, _ := strings.Cut(hosts, ",")
	u, err := url.Parse(scheme + "://" + userinfo + first + tail) // which knows one host only
	if err != nil || !ok || scheme == "" || strings.Contains(tail, "@") || strings.Count(authority, "@") > 1 || strings.Trim(others, hostCharacters) != "" {
		return nil, refuse(fmt.Sprintf("%s is not a URL: write it like scheme://user:password@host:port, with @ as %%40, / as %%2F, ? as %%3F and # as %%23 within user and password", flag))
	}
	u.Host = hosts
	return u, nil
}

// hostCharacters are those of names, addresses and ports, and the comma between them.
const hostCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[],"

// split parts what stands before the path from what comes after.
func split(rest string) (authority, tail string) {
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		return rest[:end], rest[end:]
	}
	return rest, ""
}

// Redact makes a secret option's value fit to be shown: a URL without its password. What is not understood is
// hidden whole.
func Redact(text string) string {
	if text == "" || strings.HasPrefix(text, "sqlite:") {
		return text
	}
	u, err := ParseURL("", text)
	if err != nil {
		return hidden
	}
	userinfo := ""
	if u.User != nil {
		userinfo = url.User(u.User.Username()).String()
		if _, has := u.User.Password(); has {
			userinfo += ":" + hidden
		}
		userinfo += "@"
	}
	query := u.Query()
	for name := range query {
		if lower := strings.ToLower(name); strings.Contains(lower, "pass") || strings.Contains(lower, "secret") || strings.Contains(lower, "token") {
			query.Set(name, hidden)
		}
	}
	shown := u.Scheme + "://" + userinfo + u.Host + u.EscapedPath()
	if len(query) > 0 {
		shown += "?" + strings.ReplaceAll(query.Encode(), url.QueryEscape(hidden), hidden)
	}
	return shown
}
