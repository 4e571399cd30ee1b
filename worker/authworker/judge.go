package authworker

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/mail"
)

// recently is for how long an acceptance tells that a server takes our mails.
const recently = time.Hour

// taken remembers what the mail server takes, in this process: by it a refusal of us is told from one of a recipient.
type taken struct {
	mu     sync.Mutex
	newest time.Time // when the newest of the mails was claimed whose recipient it took, by the database's clock
}

func (t *taken) note(claimed time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if claimed.After(t.newest) {
		t.newest = claimed
	}
}

func (t *taken) after(at time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.newest.After(at)
}

// judge decides what a refusal at RCPT means that may be of us. Many servers put off their checks of sender, user and network until a recipient is
// named, and then refuse him for them.
//
// It is the recipient's once the server took another's between two refusals of his: then the mail is over. Until then he is not blamed: where
// the server names the sender or a policy and has taken nobody for an hour, it cannot be used; else the mail is tried again.
func (m *mailer[Tx]) judge(ctx context.Context, d authjobs.MailDraft, failure *mail.SendError) {
	refused := failure.Refused()
	if refused != mail.RefusedSender && refused != mail.RefusedUnsaid {
		return
	}
	tries, err := m.store.AttemptsOf(context.WithoutCancel(ctx), d.MailID)
	if err != nil { // the doubt stays
		m.logger.WarnContext(ctx, "tries of a mail cannot be read", slog.String("mail", d.MailID), slog.Any("error", err))
	}
	for _, t := range tries {
		if t.Stage == string(mail.StageRcpt) && t.SMTPCode/100 == 5 && m.taken.after(t.EndedAt) {
			return
		}
	}
	failure.Outcome = mail.OutcomeTemporary
	if refused == mail.RefusedSender && !m.taken.after(d.StartedAt.Add(-recently)) {
		failure.Outcome = mail.OutcomeConfiguration
	}
}

// mailbox is what an address has before its domain.
func mailbox(address string) string {
	return address[:max(strings.LastIndexByte(address, '@'), 0)]
}
