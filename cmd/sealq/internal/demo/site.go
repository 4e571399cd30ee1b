package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/cmd/sealq/internal/embedded"
	"github.com/sealq/sealq/examples/signup/site"
)

// served is the app of examples/signup, to which the links in mails lead, and whoever follows them.
type served struct {
	url    string
	pages  *site.Site
	server *http.Server
	client *http.Client
	ended  chan error
}

func openSite(ctx context.Context, stack *embedded.Stack, c accounts.Config) (*served, error) {
	db, users, err := stack.App(ctx, c)
	if err != nil {
		return nil, err
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open the demo's site: %w", err)
	}
	address := "http://" + listener.Addr().String()
	pages, err := site.New(site.Config{DB: db, Users: users, BaseURL: address})
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	s := &served{
		url: address, pages: pages, client: &http.Client{Timeout: patience}, ended: make(chan error, 1),
		server: &http.Server{Handler: pages, ReadHeaderTimeout: 5 * time.Second},
	}
	go func() { s.ended <- s.server.Serve(listener) }()
	return s, nil
}

func (s *served) close() error {
	s.client.CloseIdleConnections()
	err := s.server.Close()
	if ended := <-s.ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	s.pages.Wait()
	return err
}

// follow does what a person does with a link: look at the page, fill in the form, press its button.
func (s *served) follow(ctx context.Context, link string) error {
	u, err := url.Parse(link)
	if err != nil {
		return fmt.Errorf("the mail's link: %w", err)
	}
	if err := s.visit(ctx, http.MethodGet, link, nil); err != nil {
		return err
	}
	form := url.Values{"key": {u.Query().Get("key")}, "new": {password}}
	return s.visit(ctx, http.MethodPost, s.url+u.Path, form)
}

func (s *served) visit(ctx context.Context, method, target string, form url.Values) error {
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
