package accounts

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/text/language"
)

// maxLanguageBytes is what RFC 5646, 4.4.1, counts for a tag.
const maxLanguageBytes = 35

// LanguageError says why a language tag was refused. It does not repeat the tag.
type LanguageError struct{ Cause error }

// Error is a sentence for a person.
func (e *LanguageError) Error() string { return ErrInvalidLanguage.Error() + ": " + e.Cause.Error() }

// Unwrap makes both ErrInvalidLanguage and the cause findable.
func (e *LanguageError) Unwrap() []error { return []error{ErrInvalidLanguage, e.Cause} }

// ParseLanguage takes a BCP 47 tag and returns its canonical spelling: "DE_at" is "de-AT". An empty one stays empty and is the deployment's
// language. Whether there are mails in that language does not matter: they are in the nearest one. Its errors are *LanguageError.
func ParseLanguage(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	if len(text) > maxLanguageBytes {
		return "", &LanguageError{Cause: fmt.Errorf("it is longer than %d bytes", maxLanguageBytes)}
	}
	tag, err := language.Parse(text)
	if _, unknown := errors.AsType[language.ValueError](err); unknown {
		return "", &LanguageError{Cause: errors.New("it names a language, script or region that there is not")}
	}
	if err != nil {
		return "", &LanguageError{Cause: errors.New("it is not well-formed")}
	}
	canonical := tag.String()
	if base, _, _ := tag.Raw(); base.String() == "und" { // of private use alone too
		return "", &LanguageError{Cause: errors.New("it names no language")}
	}
	if len(canonical) > maxLanguageBytes {
		return "", &LanguageError{Cause: fmt.Errorf("it is longer than %d bytes", maxLanguageBytes)}
	}
	return canonical, nil
}

// SetLanguage sets the language that the user's mails are in from now on, in tx, which the caller commits: a BCP 47 tag, or "" for the
// deployment's. Mails that wait to be sent are in it too. Errors: *LanguageError, ErrNoSuchUser; with these nothing has been written.
func (a *Accounts[Tx]) SetLanguage(ctx context.Context, tx Tx, userID, tag string) error {
	tag, err := ParseLanguage(tag)
	if err != nil {
		return fmt.Errorf("set language: %w", err)
	}
	changed, err := a.store.SetLanguage(ctx, tx, userID, tag)
	if err == nil && changed {
		err = a.record(ctx, tx, Change{
			Actor: userSubject(userID), Action: "account.language_set", Subject: userSubject(userID), Detail: map[string]string{"language": tag},
		})
	}
	if err != nil {
		return fmt.Errorf("set language: %w", err)
	}
	return nil
}
