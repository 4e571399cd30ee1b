package explain

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/sealq/sealq/jobs/authjobs"
)

// answer is what the mail server said, to follow a sentence.
func answer(h *authjobs.MailHistory) string {
	if h.SMTPCode == 0 {
		return ""
	}
	return ": " + reply(h.SMTPCode, h.SMTPReply)
}

// reply is what a mail server said, in quotes that it cannot close: it says whatever it likes, and stands among commands that people copy.
func reply(code int, text string) string {
	if text = strings.TrimSpace(text); text == "" {
		return strconv.Itoa(code)
	}
	return strconv.Itoa(code) + ` "` + strings.ReplaceAll(tame(text), `"`, "'") + `"`
}

// tame takes out what our advice has around commands.
func tame(text string) string { return strings.ReplaceAll(text, "`", "'") }

// code is a part of a command of ours.
type code string

// tamed makes every text but code tame.
func tamed(args []any) []any {
	for i, arg := range args {
		if _, ours := arg.(code); !ours && reflect.TypeOf(arg).Kind() == reflect.String {
			args[i] = tame(fmt.Sprint(arg))
		}
	}
	return args
}

func stamp(at time.Time) string { return at.UTC().Format(time.RFC3339) }

// age is how long ago it was, in seconds, or in days and hours where it is long.
func (t *teller) age(at time.Time) string {
	d := max(t.now.Sub(at), 0).Round(time.Second)
	if d < 48*time.Hour {
		return d.String()
	}
	hours := int(d / time.Hour)
	return strconv.Itoa(hours/24) + "d" + strconv.Itoa(hours%24) + "h"
}

// word is one argument of a command that people copy into a shell: addresses may have backticks (RFC 5322, 3.2.3).
func word(argument string) code {
	const harmless = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@._+-=:,/"
	if argument != "" && strings.Trim(argument, harmless) == "" {
		return code(argument)
	}
	return code("'" + strings.ReplaceAll(argument, "'", `'\''`) + "'")
}

// plain is prose without what a terminal would obey, such as escapes and marks that turn the direction of writing.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
}

// plain cuts it out of all that is told: a mail server's words and what lies in Redis may be anybody's, and whoever can write to the
// database is to have no way into an operator's terminal either.
func (s *Story) plain() {
	for _, text := range []*string{&s.Asked, &s.Email, &s.AccountID, &s.Redis, &s.Advice} {
		*text = plain(*text)
	}
	for i := range s.Steps {
		step := &s.Steps[i]
		for _, text := range []*string{&step.Text, &step.Row, (*string)(&step.Kind), &step.KID, &step.MessageID, &step.SMTPReply, &step.Server, &step.Stage, (*string)(&step.Outcome)} {
			*text = plain(*text)
		}
	}
}
