//go:build !unix

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "hot-restart needs a Unix system: elsewhere a process cannot inherit a listener by os/exec")
	os.Exit(1)
}
