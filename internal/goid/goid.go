// Package goid tells goroutines apart, for a loop that must know whether it is its own goroutine that
// calls.
package goid
