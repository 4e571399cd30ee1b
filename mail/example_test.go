package mail_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/mail/catcher"
)

// A mail from its template to the server that takes it.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	server, err := catcher.Start("127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()

	templates, err := mail.DefaultTemplates()
	if err != nil {
		fmt.Println(err)
		return
	}
	content, err := templates.Confirmation(mail.ConfirmationData{
		Product:   "Example",
		Link:      "https://app.example.com/confirm?key=abc",
		ExpiresAt: time.Date(2026, 3, 30, 1, 30, 0, 0, time.UTC),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	sender, err := mail.NewSender(mail.Config{URL: server.URL(), From: "Example <no-reply@example.com>"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sender.Close() // after the last mail; until then connections are kept for the next one

	answer, err := sender.Send(ctx, mail.Message{
		ID:      "0199c0de-7000-7000-8000-000000000001.1@example.com",
		To:      "ann@example.org",
		Subject: content.Subject,
		Text:    content.Text,
		HTML:    content.HTML,
		Date:    time.Date(2026, 3, 29, 1, 30, 0, 0, time.UTC),
	}, func(context.Context) error { return nil }) // still wanted?
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(answer.Code)
	fmt.Println(server.Messages()[0].Link())
	// Output:
	// 250
	// https://app.example.com/confirm?key=abc
}

// What a failed delivery means is in its outcome.
func ExampleSendError() {
	server, err := catcher.StartWith("127.0.0.1:0", catcher.Options{
		Hook: func(_ context.Context, s catcher.Step) error {
			if s.Stage == catcher.StageData {
				return catcher.ErrDrop
			}
			return nil
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	sender, err := mail.NewSender(mail.Config{URL: server.URL(), From: "no-reply@example.com"})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = sender.Send(context.Background(), mail.Message{
		ID: "1@example.com", To: "ann@example.org", Subject: "Hello", Text: "Hello", Date: time.Unix(1_774_747_800, 0),
	}, nil)
	if failed, ok := errors.AsType[*mail.SendError](err); ok {
		fmt.Println(failed.Stage, failed.Outcome)
	}
	// Output: answer ambiguous
}

// A URL is shown without its credentials, and an error never repeats a value.
func ExampleParseURL() {
	u, err := mail.ParseURL("smtp://ann:s3cret@mail.example.com?timeout=90s")
	fmt.Println(u, err)
	_, err = mail.ParseURL("smtp://ann:s3cret@mail.example.com?tls=maybe")
	fmt.Println(err)
	// Output:
	// smtp://REDACTED@mail.example.com:587?tls=starttls&timeout=1m30s <nil>
	// smtp url: tls: must be starttls, implicit or none
}

// An application's own templates are checked when they are read.
func ExampleParseTemplates() {
	_, err := mail.ParseTemplates(ownTemplates())
	fmt.Println(err)
	// Output: mail template en/confirmation/body.txt: does not show the link ({{.Link}})
}
