package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// level is the severity of a value.
type level int

const (
	normal level = iota
	warning
	alarm
)

var levels = []string{"ok", "warning", "alarm"}

func (l level) String() string               { return levels[l] }
func (l level) MarshalText() ([]byte, error) { return []byte(levels[l]), nil }

func (l *level) UnmarshalText(text []byte) error {
	for i, name := range levels {
		if string(text) == name {
			*l = level(i)
			return nil
		}
	}
	return fmt.Errorf("unknown level %.40q", text)
}

// limits holds the values at which warning and alarm begin, by name. The entry "" is for all other names.
type limits map[string][2]float64

// set parses the value of the flag -limits.
func (l limits) set(text string) error {
	name, values, found := strings.Cut(text, "=")
	if !found {
		name, values = "", text
	}
	first, second, found := strings.Cut(values, ",")
	low, err1 := strconv.ParseFloat(first, 64)
	high, err2 := strconv.ParseFloat(second, 64)
	if !found || errors.Join(err1, err2) != nil || !(low <= high) {
		return errors.New("want two numbers, the first not larger than the second")
	}
	l[name] = [2]float64{low, high}
	return nil
}

// level returns the level of a value, given its previous level. To return to a lower level, a value must fall below the limit
// by the hysteresis. Otherwise a value that oscillates around a limit would be reported again and again.
func (l limits) level(name string, value float64, before level, hysteresis float64) level {
	limit, ok := l[name]
	if !ok {
		limit = l[""]
	}
	for now := alarm; now > normal; now-- {
		from := limit[now-1]
		if before >= now {
			from -= hysteresis
		}
		if value >= from {
			return now
		}
	}
	return normal
}
