package evtest

import (
	"flag"
	"fmt"
)

// AtOnce has n parallel tests run at the same time, unless the command line says how many. It is for packages whose
// parallel tests wait more than they compute. TestMain calls it.
func AtOnce(n int) {
	flag.Parse()
	if !given("test.fuzz") {
		Default("test.parallel", n)
	}
}

// Default sets a flag that the command line, which has been parsed, does not set.
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
