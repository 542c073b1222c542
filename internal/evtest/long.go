package evtest

import "flag"

var long = flag.Bool("long", false, "run the long form of each test")

// Long reports whether -long was given. A test that takes seconds has a short form, which finds the bugs it is meant for. Its
// long form has more connections, rounds or combinations. The gate runs both.
func Long() bool { return *long }

// Pick returns short, or full with -long.
func Pick[T any](short, full T) T {
	if *long {
		return full
	}
	return short
}
