package main

import (
	"fmt"
	"math"
	"strconv"
)

func duration(ns float64) string {
	switch {
	case ns < 1e3:
		return fmt.Sprintf("%.0f ns", ns)
	case ns < 1e6:
		return fmt.Sprintf("%.3g µs", ns/1e3)
	case ns < 1e9:
		return fmt.Sprintf("%.3g ms", ns/1e6)
	}
	return fmt.Sprintf("%.3g s", ns/1e9)
}

func size(bytes float64) string {
	switch b := math.Abs(bytes); {
	case b < 1e3:
		return fmt.Sprintf("%.0f B", bytes)
	case b < 1e6:
		return fmt.Sprintf("%.2f KB", bytes/1e3)
	case b < 1e9:
		return fmt.Sprintf("%.1f MB", bytes/1e6)
	}
	return fmt.Sprintf("%.2f GB", bytes/1e9)
}

// count formats a whole number with commas.
func count(v float64) string {
	s := strconv.FormatInt(int64(math.Round(v)), 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func number(v float64) string  { return fmt.Sprintf("%.2f", v) }
func percent(v float64) string { return fmt.Sprintf("%.0f %%", 100*v) }
