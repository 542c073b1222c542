// Package evtest has helpers for the tests of this module that need no evnet: certificates, addresses, resolvers,
// connections and listeners, other programs, and checks that nothing is left behind.
//
// Only tests import it. It does not import package evnet, so that the tests of internal packages can use it. Helpers that
// need sockets and loops are in conformance/kit.
package evtest
