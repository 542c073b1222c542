// Package misuse has the tests of calls with wrong arguments, in a wrong state or from the wrong goroutine, and of faulty
// callbacks. Each causes an error that names the problem, and does not affect later calls.
package misuse
