package jobs

// Trouble counts what is wrong with rows of the outbox, for people who look after it.
type Trouble struct {
	// Dead, Refused and Expired are rows that ended so lately, without having been done.
	Dead, Refused, Expired int64
	// Restored are unfinished rows whose task was lost again and again.
	Restored int64
}
