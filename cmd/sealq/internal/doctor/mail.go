package doctor

import (
	"context"
	"errors"

	"github.com/sealq/sealq/mail"
)

const groupMail = "mail"

func mailChecks() []check {
	return []check{{groupMail, "mail server", nothing, mailServer}}
}

// mailServer goes as far as MAIL FROM, and takes that back. Whether recipients' servers will take the mail (SPF, DKIM, DMARC) is for
// their owners to say.
func mailServer(ctx context.Context, e *env) []Finding {
	if e.Mail == nil {
		return skipped("no mail server is named (--smtp-url, --mail-from)")
	}
	err := e.Mail.Sender.PingFrom(ctx)
	failed, _ := errors.AsType[*mail.SendError](err)
	switch {
	case failed != nil && failed.Stage == mail.StageMail:
		return say(Problem, "let the server take mail from --mail-from for this user, or correct --mail-from", "the mail server at %s does not take the sender: %s", e.Mail.Where, oneLine(failed.Error()))
	case failed != nil && failed.Stage == mail.StageAuth:
		return say(Problem, "correct user and password in --smtp-url; special characters are written as %40", "the mail server at %s does not let this user in: %s", e.Mail.Where, oneLine(failed.Error()))
	case failed != nil && failed.Stage == mail.StageTLS:
		return say(Problem, "set tls=starttls or tls=implicit as the server does it, and give it a certificate that is valid for its name", "there is no TLS with the mail server at %s: %s", e.Mail.Where, oneLine(failed.Error()))
	case err != nil:
		return say(Problem, "start it, or correct host and port in --smtp-url", "cannot use the mail server at %s: %s", e.Mail.Where, oneLine(err.Error()))
	case e.Mail.TLS == mail.TLSNone && !e.Mail.Local:
		return say(Warning, "write tls=starttls or tls=implicit", "the mail server at %s takes the sender, and mails with links that log people in go there in the clear", e.Mail.Where)
	}
	return fine("the mail server at %s takes mail from the sender; nothing was sent", e.Mail.Where)
}
