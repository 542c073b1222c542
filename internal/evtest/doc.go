// Package evtest has helpers for the tests of this module that need no evnet: certificates, addresses, resolvers,
// connections and listeners, other programs, and checks that nothing is left behind.
//
// Only tests import it. It knows nothing of package evnet, so that the tests of internal packages can use it; what needs
// sockets and loops is in conformance/kit.
package evtest
