package explain

import (
	"context"
	"fmt"
	"time"

	"github.com/sealq/sealq/jobs/authjobs"
)

// tries tells how often a mail was tried, and what came of each.
func (t *teller) tries(ctx context.Context, h *authjobs.MailHistory) error {
	if h.FirstTry.IsZero() {
		return nil
	}
	kept, err := t.Records.AttemptsOf(ctx, h.Row.ID)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("a worker tried to send it, as <%s>: %d so far", h.MessageID, h.Tries)
	if n := t.lost(h, kept); n > 0 {
		text += fmt.Sprintf(", of which %d left no word: a worker ended in the middle", n)
		if !h.SentAt.IsZero() {
			text += "; if the mail server had taken it by then, its reader has another copy with this Message-ID"
		}
	}
	if len(kept) == 0 && h.SentAt.IsZero() && h.Cause != "" { // of before tries were kept
		text += "; the last one: " + h.Cause + answer(h)
	}
	t.add(h.FirstTry, Step{Step: StepTried, Row: h.Row.ID, Kind: h.Row.Kind, MessageID: h.MessageID, SMTPCode: h.SMTPCode, SMTPReply: h.SMTPReply, Text: text})
	sent := false
	for _, a := range kept {
		if a.Outcome == authjobs.MailDelivered && !sent {
			sent = true // StepSent tells it
			continue
		}
		t.add(a.EndedAt, Step{
			Step: StepAnswered, Row: h.Row.ID, Kind: h.Row.Kind, MessageID: h.MessageID, SMTPCode: a.SMTPCode, SMTPReply: a.SMTPReply,
			Try: a.Try, Server: a.Server, Stage: a.Stage, Outcome: a.Outcome, Text: outcome(a),
		})
	}
	return nil
}

// lost counts the tries that have ended and left no entry, among those that would be kept.
func (t *teller) lost(h *authjobs.MailHistory, kept []authjobs.MailAttempt) int {
	if len(kept) == 0 || len(kept) >= authjobs.MaxAttempts {
		return 0
	}
	n := h.Tries - len(kept)
	if h.LeaseUntil.After(t.now) {
		n-- // it is under way
	}
	return max(n, 0)
}

// outcome tells of one try.
func outcome(a authjobs.MailAttempt) string {
	text := fmt.Sprintf("try %d", a.Try)
	if a.Server != "" {
		text += " at " + a.Server
	}
	text += fmt.Sprintf(", %s, %s", a.EndedAt.Sub(a.StartedAt).Round(time.Millisecond), a.Outcome)
	if a.Outcome == authjobs.MailDelivered {
		text += ": it was taken again, so that its reader has two copies with one Message-ID"
	}
	if a.Cause != "" {
		text += ": " + a.Cause
	}
	if a.SMTPCode != 0 {
		text += ": " + reply(a.SMTPCode, a.SMTPReply)
	}
	return text
}
