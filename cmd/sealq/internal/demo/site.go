package demo

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
)

// site is the page that the links in mails lead to. GET shows a button, POST acts: mail scanners follow links.
type site struct {
	url    string
	server *http.Server
	client *http.Client
	ended  chan error
}

func openSite(ctx context.Context, users app.Accounts) (*site, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open the demo's site: %w", err)
	}
	page := template.Must(template.New("confirm").Parse(
		`<!doctype html><title>Confirm</title><form method="post"><input type="hidden" name="key" value="{{.}}"><button>Confirm</button></form>`))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /confirm", func(w http.ResponseWriter, r *http.Request) {
		_ = page.Execute(w, r.URL.Query().Get("key")) // the reader is gone if it fails
	})
	mux.HandleFunc("POST /confirm", func(w http.ResponseWriter, r *http.Request) {
		if _, err := users.Activate(r.Context(), r.FormValue("key")); err != nil {
			http.Error(w, "this link is not valid (any more)", http.StatusGone)
		}
	})
	s := &site{
		url: "http://" + listener.Addr().String(), client: &http.Client{Timeout: patience}, ended: make(chan error, 1),
		server: &http.Server{Handler: http.NewCrossOriginProtection().Handler(mux), ReadHeaderTimeout: 5 * time.Second},
	}
	go func() { s.ended <- s.server.Serve(listener) }()
	return s, nil
}

func (s *site) close() error {
	s.client.CloseIdleConnections()
	err := s.server.Close()
	if ended := <-s.ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

// follow does what a person does with a link: look at the page, press its button.
func (s *site) follow(ctx context.Context, link string) error {
	u, err := url.Parse(link)
	if err != nil {
		return fmt.Errorf("the mail's link: %w", err)
	}
	if err := s.visit(ctx, http.MethodGet, link, nil); err != nil {
		return err
	}
	form := url.Values{"key": {u.Query().Get("key")}}
	return s.visit(ctx, http.MethodPost, s.url+u.Path, form)
}

func (s *site) visit(ctx context.Context, method, target string, form url.Values) error {
	req, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(form.Encode()))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, target, err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := s.client.Do(req)
	if err != nil {
		return err //nolint:wrapcheck // names method and URL
	}
	if err := resp.Body.Close(); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s /confirm answered %s", method, resp.Status)
	}
	return nil
}
