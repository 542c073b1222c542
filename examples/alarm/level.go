package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// level is how bad a value is.
type level int

const (
	okay level = iota
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
	return fmt.Errorf("%.40q is no level", text)
}

// limits are the values from which on it is a warning and an alarm, for each name, and for "" all others.
type limits map[string][2]float64

// set takes the flag.
func (l limits) set(text string) error {
	name, values, found := strings.Cut(text, "=")
	if !found {
		name, values = "", text
	}
	first, second, found := strings.Cut(values, ",")
	low, err1 := strconv.ParseFloat(first, 64)
	high, err2 := strconv.ParseFloat(second, 64)
	if !found || errors.Join(err1, err2) != nil || !(low <= high) {
		return errors.New("not two numbers, the first no larger than the second")
	}
	l[name] = [2]float64{low, high}
	return nil
}

// judge is the level of a value that was at some level before. To come down it must fall below the limit by
// the hysteresis: else one that trembles about the limit would be told again and again.
func (l limits) judge(name string, value float64, before level, hysteresis float64) level {
	limit, known := l[name]
	if !known {
		limit = l[""]
	}
	for now := alarm; now > okay; now-- {
		from := limit[now-1]
		if before >= now {
			from -= hysteresis
		}
		if value >= from {
			return now
		}
	}
	return okay
}
