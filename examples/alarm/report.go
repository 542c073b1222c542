package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
)

// The protocol: the server sends reports, one line of JSON each. A manager sends nothing.

const (
	maxLine     = 16 << 10 // bytes of a report
	maxReadings = 32
	maxName     = 32 // bytes
)

// report is the whole state, so a manager that missed earlier reports does not need them. A report without a time is a
// heartbeat: the state of report N is still valid.
type report struct {
	N        uint64    `json:"n"` // counts the changes
	Time     time.Time `json:"time,omitzero"`
	Readings []reading `json:"readings,omitempty"`
	Fault    string    `json:"fault,omitempty"` // why the sensor could not be read; the readings are then the last known ones
}

// reading is one monitored value.
type reading struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Level level   `json:"level"`
}

// line returns the encoded report.
func (r report) line() []byte {
	line, err := json.Marshal(r)
	if err != nil {
		panic(err) // cannot happen: check refuses NaN and infinities
	}
	return append(line, '\n')
}

// parse decodes a line of a server, which is not trusted.
func parse(line []byte) (report, error) {
	var r report
	err := json.Unmarshal(line, &r)
	if err == nil && r.N == 0 {
		err = errors.New("missing report number")
	}
	if err == nil {
		err = check(r.Readings)
	}
	if err != nil {
		return r, fmt.Errorf("invalid report %.40q: %w", line, err)
	}
	return r, nil
}

// check validates readings from an untrusted source.
func check(readings []reading) error {
	if len(readings) > maxReadings {
		return fmt.Errorf("%d readings, more than the limit of %d", len(readings), maxReadings)
	}
	seen := map[string]bool{}
	for _, r := range readings {
		switch {
		case r.Name == "" || len(r.Name) > maxName || strings.ContainsFunc(r.Name, func(c rune) bool { return !unicode.IsPrint(c) || c == ' ' || c == unicode.ReplacementChar }):
			return fmt.Errorf("invalid name %.40q: want 1 to %d printable bytes without spaces", r.Name, maxName)
		case r.Value-r.Value != 0:
			return fmt.Errorf("%s: value %v is not finite", r.Name, r.Value)
		case seen[r.Name]:
			return fmt.Errorf("duplicate name %s", r.Name)
		}
		seen[r.Name] = true
	}
	return nil
}
