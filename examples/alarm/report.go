package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
)

// The protocol: the server sends lines of JSON, each a report, and a manager sends nothing.

const (
	longestLine  = 16 << 10 // of a report, in bytes
	mostReadings = 32
	longestName  = 32
)

// report is the whole state: a manager who has missed some reports needs none of them. Without a time it is
// a heartbeat, which says that the state is still that of report N.
type report struct {
	N        uint64    `json:"n"` // counts the changes
	Time     time.Time `json:"time,omitzero"`
	Readings []reading `json:"readings,omitempty"`
	Fault    string    `json:"fault,omitempty"` // why the sensor could not be read: the readings are old
}

// reading is one thing that is watched.
type reading struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Level level   `json:"level"`
}

// line is the report as it is sent.
func (r report) line() []byte {
	line, err := json.Marshal(r)
	if err != nil {
		panic(err) // a value that is no number, which check has refused
	}
	return append(line, '\n')
}

// parse makes a report of a line of somebody else's, who may be no alarm server at all.
func parse(line []byte) (report, error) {
	var r report
	err := json.Unmarshal(line, &r)
	if err == nil && r.N == 0 {
		err = errors.New("it has no number")
	}
	if err == nil {
		err = check(r.Readings)
	}
	if err != nil {
		return r, fmt.Errorf("%.40q is no report: %w", line, err)
	}
	return r, nil
}

// check tells what is wrong with readings that have come from outside.
func check(readings []reading) error {
	if len(readings) > mostReadings {
		return fmt.Errorf("there are %d readings: at most %d are taken", len(readings), mostReadings)
	}
	seen := map[string]bool{}
	for _, r := range readings {
		switch {
		case r.Name == "" || len(r.Name) > longestName || strings.ContainsFunc(r.Name, func(c rune) bool { return !unicode.IsPrint(c) || c == ' ' || c == unicode.ReplacementChar }):
			return fmt.Errorf("%.40q is no name: 1 to %d bytes, printable, no space", r.Name, longestName)
		case r.Value-r.Value != 0:
			return fmt.Errorf("%s is %v, which is no value", r.Name, r.Value)
		case seen[r.Name]:
			return fmt.Errorf("%s is there twice", r.Name)
		}
		seen[r.Name] = true
	}
	return nil
}
