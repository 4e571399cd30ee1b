package main

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// readPage reads a page until it matches.
func readPage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: page PATTERN URL")
	}
	pattern, err := regexp.Compile(args[0])
	ts.Check(err)
	var body []byte
	poll(ts, args[1]+" to match "+args[0], func() bool {
		var code int
		code, body = get(ts, args[1])
		return code == http.StatusOK && pattern.Match(body)
	})
	_, err = ts.Stdout().Write(body)
	ts.Check(err)
}

// sessions are the variables that hold the sessions that logins gave, until other logins, by their cookies: that of the dashboard, which is for safe
// connections, of which scripts have none, and that of dev's demo app.
var sessions = map[string]string{"__Host-sealq": "session", "session": "app_session"}

// inSession sends the sessions along, if there are any.
func inSession(ts *testscript.TestScript, r *http.Request) {
	for cookie, variable := range sessions {
		if token := ts.Getenv(variable); token != "" {
			r.AddCookie(&http.Cookie{Name: cookie, Value: token})
		}
	}
}

// submitForm sends a form as a browser does from a page of the same site.
func submitForm(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: submit CODE URL [NAME=VALUE]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	form := url.Values{}
	for _, field := range args[2:] {
		name, value, _ := strings.Cut(field, "=")
		form.Set(name, value)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, args[1], strings.NewReader(form.Encode()))
	ts.Check(err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Sec-Fetch-Site", "same-origin")
	inSession(ts, request)
	response, err := http.DefaultTransport.RoundTrip(request) // a redirection is an answer, too
	ts.Check(err)
	defer response.Body.Close()
	for _, cookie := range response.Cookies() {
		if variable, ok := sessions[cookie.Name]; ok {
			ts.Setenv(variable, cookie.Value)
		}
	}
	_, err = io.Copy(ts.Stdout(), response.Body)
	ts.Check(err)
	if response.StatusCode != want {
		ts.Fatalf("%s answered %s, not %d", args[1], response.Status, want)
	}
}
