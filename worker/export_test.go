package worker

// MeetOutage lets a job run into b that ends with err.
func MeetOutage(b *Breaker, err error) {
	b.enter()
	b.leave(err)
}
