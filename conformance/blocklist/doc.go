// Package blocklist has the tests of BlockList: its rules against a reference, its JSON form, and its use by servers
// and connecting sockets.
package blocklist
