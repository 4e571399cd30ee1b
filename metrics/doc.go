// Package metrics turns what sealq's packages tell into Prometheus metrics, for whatever registry an app has. A [Tally] counts
// what it is told of each task; [Readings] ask others whenever Prometheus does, within bounded time, and however many scrape
// them no more often than every few seconds.
//
// It refuses labels that anybody else could choose: kinds are those that it was given, queues those that are served, key IDs
// those of the ring, and reasons, causes and states are sealq's own. Nothing that an unverified task says of itself becomes
// one, so that whoever writes to Redis can raise numbers and make no series. It serves no HTTP and reads no configuration.
//
// docs/monitoring.md lists every metric.
package metrics

const (
	namespace = "sealq"
	// other stands for every kind and queue that was not named.
	other = "other"
)
