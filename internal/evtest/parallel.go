package evtest

import (
	"flag"
	"fmt"
)

// Concurrently sets the limit of parallel tests to n, unless the command line sets it. It is for packages whose parallel tests
// wait more than they compute. TestMain calls it.
func Concurrently(n int) {
	flag.Parse()
	if !given("test.fuzz") {
		Default("test.parallel", n)
	}
}

// Default sets a flag that the parsed command line does not set.
func Default(name string, value any) {
	if given(name) {
		return
	}
	if err := flag.Set(name, fmt.Sprint(value)); err != nil {
		panic(err)
	}
}

// given reports whether the command line sets a flag.
func given(name string) (is bool) {
	flag.Visit(func(f *flag.Flag) { is = is || f.Name == name })
	return is
}
