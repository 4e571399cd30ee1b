package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sealq/sealq/cmd/sealq/internal/brief"
	"github.com/sealq/sealq/cmd/sealq/internal/redisurl"
)

func fine(format string, args ...any) []Finding {
	return []Finding{{Status: OK, Message: fmt.Sprintf(format, args...)}}
}

func skipped(format string, args ...any) []Finding {
	return []Finding{{Status: Skipped, Message: fmt.Sprintf(format, args...)}}
}

// say says what is wrong and what to do.
func say(s Status, advice, format string, args ...any) []Finding {
	return []Finding{{Status: s, Message: fmt.Sprintf(format, args...), Advice: advice}}
}

// about names what the findings are about, of several that one check looks at.
func about(subject string, findings []Finding) []Finding {
	for i := range findings {
		findings[i].Subject = subject
	}
	return findings
}

// failed is a check that could not be made: for lack of a right, which is no fault, or because a server did not answer.
func failed(err error, doing, advice string) []Finding {
	switch {
	case redisurl.Denied(err):
		return skipped("not looked at: this Redis user may not %s; the dashboard's user (`sealq redis-acl dashboard`) or an administrator's can tell", doing)
	case lacksPrivilege(err):
		return skipped("not looked at: this database role may not %s", doing)
	case isTimeout(err):
		return say(Problem, "find out what keeps the server busy, and run `sealq doctor` again", "no answer in time to the wish to %s", doing)
	}
	return say(Problem, advice, "cannot %s: %s", doing, oneLine(brief.Error(err).Error()))
}

func isTimeout(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
}

func lacksPrivilege(err error) bool {
	refused, ok := errors.AsType[*pgconn.PgError](err)
	return ok && refused.Code == "42501"
}

// oneLine is what a server said, or may have, fit for a terminal.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
	return strings.Join(strings.Fields(text), " ")
}

// shown is a name that anybody may have chosen, fit for a terminal.
func shown(name string) string {
	const most = 64
	odd := func(r rune) bool { return !strconv.IsPrint(r) }
	if utf8.ValidString(name) && len(name) <= most && !strings.ContainsFunc(name, odd) {
		return name
	}
	return strconv.QuoteToASCII(name[:min(len(name), most)])
}

func shownAll(names []string) string {
	const most = 5
	list := make([]string, 0, most)
	for i, name := range names {
		if i == most {
			list = append(list, fmt.Sprintf("%d more", len(names)-most))
			break
		}
		list = append(list, shown(name))
	}
	return strings.Join(list, ", ")
}

func plural(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.FormatInt(n, 10) + " " + what + "s"
}

// age rounds a duration for people.
func age(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	case d >= time.Minute:
		return strings.TrimSuffix(d.Truncate(time.Minute).String(), "0s")
	default:
		return d.Truncate(time.Second).String()
	}
}
