// Package consumers has the tests of received data that several consumers get, one after the other: from one kind of
// consumer to another, with bytes put back, inside callbacks, and up to the hand-over of the connection to other code.
package consumers
