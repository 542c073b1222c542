// Package scenario reads the scripts of conformance/testdata/scenarios, whose README describes their form. It is not part
// of the library, and only tests import it.
package scenario
