package main

import (
	"debug/buildinfo"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// build builds a server program and returns the command line that starts it. If this machine cannot
// run the program, missing says why.
func build(dir, program string) (argv []string, missing string, err error) {
	switch program {
	case "node":
		node, err := exec.LookPath("node")
		if err != nil {
			return nil, "node is not installed", nil
		}
		return []string{node, filepath.Join("servers", "node", "server.js")}, "", nil
	case "c":
		gcc, err := exec.LookPath("gcc")
		if err != nil {
			return nil, "gcc is not installed", nil
		}
		to := filepath.Join(dir, "c")
		return []string{to}, "", command(gcc, "-O2", "-o", to, filepath.Join("servers", "c", "server.c"))
	}
	to := filepath.Join(dir, program)
	return []string{to}, "", command("go", "build", "-o", to, "./servers/"+program)
}

func buildLoad(dir string) (path string, err error) {
	path = filepath.Join(dir, "load")
	return path, command("go", "build", "-o", path, "./load")
}

func command(argv ...string) error {
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, out)
	}
	return nil
}

// version returns the version of a module that is linked into a Go program, or "".
func version(path, module string) string {
	info, err := buildinfo.ReadFile(path)
	if err != nil || module == "" {
		return ""
	}
	for _, m := range info.Deps {
		if m.Path == module {
			return m.Version
		}
	}
	return ""
}
