// Package misuse has the tests of calls with wrong arguments, in a wrong state or from the wrong goroutine, and of faulty
// callbacks: each gives an error that says what is wrong, and has no effect on what follows.
package misuse
