// Package conformance has the tests that hold evnet to Node's behaviour: traces recorded from Node, which are played on evnet
// and on Node, the traps that Node's users know, and real Node programs as peers. The folders beneath it have the other
// black-box tests, by theme.
package conformance
