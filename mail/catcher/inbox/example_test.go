package inbox_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/smtp"
	"strings"

	"github.com/sealq/sealq/mail/catcher"
	"github.com/sealq/sealq/mail/catcher/inbox"
)

func ExampleNew() {
	server, err := catcher.Start("127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	pages, err := inbox.New(inbox.Config{Mails: server})
	if err != nil {
		fmt.Println(err)
		return
	}
	site := httptest.NewServer(pages)
	defer site.Close()

	mail := []byte("Subject: Hello\r\n\r\nOpen https://example.com/confirm?key=abc.\r\n")
	if err := smtp.SendMail(server.Addr(), nil, "no-reply@example.com", []string{"ann@example.org"}, mail); err != nil {
		fmt.Println(err)
		return
	}
	answer, err := http.Get(site.URL + "/mails/1") //nolint:noctx // an example
	if err != nil {
		fmt.Println(err)
		return
	}
	defer answer.Body.Close()
	page, err := io.ReadAll(answer.Body)
	fmt.Println(answer.Status, strings.Contains(string(page), `href="https://example.com/confirm?key=abc"`), err)
	// Output: 200 OK true <nil>
}
