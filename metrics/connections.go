package metrics

// Connections are the figures of connections to a mail server, as mail.Stats has them: one is converted to the other. This package
// builds without a mail client.
type Connections struct {
	Open    int    // connections there are, idle ones included, and those being made
	Idle    int    // of them, kept for the next mail
	Waiting int    // mails that wait for a connection
	Dialled uint64 // connections made so far
	Reused  uint64 // mails that went over a connection that was there
}

func (s scrape) readConnections() {
	if s.from.Connections == nil {
		return
	}
	c := s.from.Connections()
	s.gauge("smtp_connections", float64(c.Open-c.Idle), "busy")
	s.gauge("smtp_connections", float64(c.Idle), "idle")
	s.gauge("smtp_mails_waiting", float64(c.Waiting))
	s.counter("smtp_dials_total", float64(c.Dialled))
	s.counter("smtp_reuses_total", float64(c.Reused))
}
