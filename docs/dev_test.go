package docs_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/sealq/sealq/mail/catcher"
	"github.com/sealq/sealq/mail/catcher/inbox"
)

func Example_inbox() {
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
	answer := httptest.NewRecorder()
	request := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "http://localhost/", nil)
	pages.ServeHTTP(answer, request)
	fmt.Println(answer.Code)
	// Output: 200
}
