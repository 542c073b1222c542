// Package goid identifies goroutines. An event loop uses it to determine whether a call comes from its own
// goroutine. Any goroutine may call it.
package goid
