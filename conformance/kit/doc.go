// Package kit has helpers for the tests of this module that work on sockets, servers and loops of evnet: the root's own and
// those below conformance. It is not part of the library, and only tests import it.
package kit
