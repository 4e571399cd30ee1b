// Package sweep measures what sweeps of large tables cost those who use them meanwhile: without a sweep, with ours, with one naive statement.
// PostgreSQL is a real one of the benchmark's own. Run it in the folder above with:
//
//	make bench-sweep            (10 million rows; ROWS=1000000 for a million; LAYOUT=scattered for the worst case)
package sweep
