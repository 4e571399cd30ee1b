// Package signing compares what it costs to authenticate 256 bytes with sealq's envelope and with what people
// use today. Each peer does the whole of its own format, as an app would call it; none of the others binds queue,
// kind, ID, retries, headers and three times, as the envelope does. Run it with: go test -bench . ./signing
package signing
