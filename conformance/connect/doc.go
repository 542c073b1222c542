// Package connect has the tests of connecting: lookups, the race of addresses, local addresses, contexts, socket options, and
// everything that ends an attempt early.
package connect
