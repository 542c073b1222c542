// Package blocklist has the tests of BlockList: its rules against a reference, its JSON form, and what servers and
// connecting sockets make of it.
package blocklist
