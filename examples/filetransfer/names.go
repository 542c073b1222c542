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
	partSuffix = ".part"           // suffix of incomplete files, here and in other programs
	suffix     = ".transfer.part"  // suffix of incomplete files of this program; a receiver removes no other files
	maxName    = 255 - len(suffix) // bytes
)

// checkName returns an error if the name is not safe on the other side. A name that passes refers to a file inside the directory on every
// operating system, and does not look like a different name.
func checkName(name string) error {
	stem, _, _ := strings.Cut(name, ".")
	switch {
	case name == "":
		return errors.New("empty file name")
	case len(name) > maxName:
		return fmt.Errorf("invalid file name %.40q…: %d bytes, more than the limit of %d", name, len(name), maxName)
	case printable.Text(name) != name:
		return fmt.Errorf("invalid file name %q: control characters, invisible characters or invalid UTF-8", name)
	case strings.ContainsAny(name, `/\:`) || name == "." || !filepath.IsLocal(name):
		return fmt.Errorf("invalid file name %q: not a plain name", name)
	case strings.ContainsAny(name, `<>"|?*`):
		return fmt.Errorf("invalid file name %q: some operating systems do not allow one of its characters", name)
	case name[0] == '.' || name[0] == '-':
		return fmt.Errorf("invalid file name %q: it begins with %q, so it would be hidden or parsed as an option", name, name[:1])
	case strings.HasSuffix(name, ".") || strings.TrimSpace(name) != name:
		return fmt.Errorf("invalid file name %q: it begins with a space, or ends with a space or a dot", name)
	case isDevice(strings.TrimSpace(stem)):
		return fmt.Errorf("invalid file name %q: the name of a Windows device", name)
	case isShortened(name):
		return fmt.Errorf("invalid file name %q: the short form of another name on Windows", name)
	case strings.HasSuffix(strings.ToLower(name), partSuffix):
		return fmt.Errorf("invalid file name %q: reserved for incomplete files", name)
	}
	return nil
}

// isDevice reports whether Windows interprets a name as a device, with any extension.
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

// isShortened reports whether a name may be the short alias that Windows creates for a longer name, such as BIGFIL~1.ISO.
func isShortened(name string) bool {
	_, rest, found := strings.Cut(name, "~")
	return found && rest != "" && unicode.IsDigit(rune(rest[0]))
}

// key returns the same value for names that some file systems do not distinguish.
func key(name string) string { return strings.ToLower(strings.ToUpper(name)) }
