// Package limits has the tests of what bounds a peer: buffered memory, time in a turn of the loop, stalled writes, lifetime,
// timeouts, and log records.
package limits
