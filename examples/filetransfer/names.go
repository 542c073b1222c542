package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"unicode"

	"evnet/examples/printable"
)

const (
	unfinished = ".part"           // the end of the name of a file that is not whole yet, here and in other programs
	suffix     = ".transfer.part"  // of such a file of this program: a receiver removes no other
	maxName    = 255 - len(suffix) // bytes
)

// checkName is why a file cannot have that name on the other side. What it lets pass names a file in a directory, on any
// system, never one outside, and looks like what it is.
func checkName(name string) error {
	stem, _, _ := strings.Cut(name, ".")
	switch {
	case name == "":
		return errors.New("a file without a name")
	case len(name) > maxName:
		return fmt.Errorf("the name %.40q… has %d bytes; %d is the most", name, len(name), maxName)
	case printable.Text(name) != name:
		return fmt.Errorf("the name %q has control characters, invisible characters or bytes that are no text", name)
	case strings.ContainsAny(name, `/\:`) || name == "." || !filepath.IsLocal(name):
		return fmt.Errorf("%q is not a plain name", name)
	case strings.ContainsAny(name, `<>"|?*`):
		return fmt.Errorf("the name %q has a character that not every system allows", name)
	case name[0] == '.' || name[0] == '-':
		return fmt.Errorf("the name %q begins with %q: it would be hidden, or be taken for an option", name, name[:1])
	case strings.HasSuffix(name, ".") || strings.TrimSpace(name) != name:
		return fmt.Errorf("the name %q begins with a space, or ends with a space or a dot", name)
	case isDevice(strings.TrimSpace(stem)):
		return fmt.Errorf("the name %q is one of a device of Windows", name)
	case isShortened(name):
		return fmt.Errorf("the name %q is the short form of another name on Windows", name)
	case strings.HasSuffix(strings.ToLower(name), unfinished):
		return fmt.Errorf("the name %q is one for files that are not whole yet", name)
	}
	return nil
}

// isDevice reports whether Windows takes a name for a device, whatever follows it after a dot.
func isDevice(stem string) bool {
	switch stem = strings.ToUpper(stem); stem {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return true
	}
	number, isPort := strings.CutPrefix(stem, "COM")
	if !isPort {
		number, isPort = strings.CutPrefix(stem, "LPT")
	}
	return isPort && len([]rune(number)) == 1 && strings.Contains("0123456789¹²³", number)
}

// isShortened reports whether a name such as BIGFIL~1.ISO may be an alias that Windows has made for a longer one.
func isShortened(name string) bool {
	_, rest, found := strings.Cut(name, "~")
	return found && rest != "" && unicode.IsDigit(rune(rest[0]))
}

// key is equal for names that some file system takes for one.
func key(name string) string { return strings.ToLower(strings.ToUpper(name)) }
