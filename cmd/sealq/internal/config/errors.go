package config

// Error is a setting that cannot be used. It names flags and files, and repeats no secret.
type Error struct{ Problem string }

// Error is one sentence for a person.
func (e *Error) Error() string { return e.Problem }

func refuse(problem string) error { return &Error{Problem: problem} }
