package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// sensor gives what can be watched now. The levels are not its business.
type sensor func() ([]reading, error)

// openSensor makes the sensor of the flag.
func openSensor(source string, seed uint64) (sensor, error) {
	path, isFile := strings.CutPrefix(source, "file:")
	switch {
	case isFile:
		return func() ([]reading, error) { return readFile(path) }, nil
	case source == "simulated", source == "" && runtime.GOOS != "linux":
		return simulated(seed), nil
	case source == "machine", source == "":
		return machine(), nil
	}
	return nil, fmt.Errorf("-sensor is machine, simulated or file:PATH, not %q", source)
}

// readFile reads a file that somebody else writes, anew each time: lines of a name and a value.
func readFile(path string) ([]reading, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, longestLine))
	if err != nil {
		return nil, err
	}
	var readings []reading
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		value, err := strconv.ParseFloat(fields[len(fields)-1], 64)
		if err != nil || len(fields) != 2 {
			return nil, fmt.Errorf("%s: %.40q is not a name and a value", path, line)
		}
		readings = append(readings, reading{Name: fields[0], Value: value})
	}
	if len(readings) == 0 {
		return nil, fmt.Errorf("%s has no readings", path)
	}
	if err := check(readings); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return readings, nil
}

// simulated is a machine with a load that goes up and down by chance, and always the same way for a seed.
func simulated(seed uint64) sensor {
	chance := rand.New(rand.NewPCG(seed, 0))
	cpu, memory := 50.0, 50.0
	step := func(value, most float64) float64 {
		return min(max(value+(chance.Float64()*2-1)*most, 0), 100)
	}
	return func() ([]reading, error) {
		cpu, memory = step(cpu, 20), step(memory, 5)
		return []reading{{Name: "cpu", Value: cpu}, {Name: "memory", Value: memory}}, nil
	}
}

// machine is this one, as Linux tells of it: per cent of the processors' time since the last look (at first
// since the start of the machine), and of the memory, that are in use.
func machine() sensor {
	var busy, total float64
	var load float64
	return func() ([]reading, error) {
		nowBusy, nowTotal, err := processors()
		if err != nil {
			return nil, err
		}
		memory, err := memoryInUse()
		if err != nil {
			return nil, err
		}
		if nowTotal > total { // else too little time has passed to tell
			load = 100 * (nowBusy - busy) / (nowTotal - total)
		}
		busy, total = nowBusy, nowTotal
		return []reading{{Name: "cpu", Value: min(max(load, 0), 100)}, {Name: "memory", Value: memory}}, nil
	}
}

// processors is the time that all of them have worked, and that they have had.
func processors() (busy, total float64, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line) // cpu user nice system idle iowait irq softirq steal, and parts of user and nice
	if len(fields) < 9 {
		return 0, 0, errors.New("/proc/stat: " + strconv.Quote(line) + " is not understood")
	}
	for i, field := range fields[1:9] {
		ticks, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("/proc/stat: %w", err)
		}
		if total += ticks; i != 3 && i != 4 { // idle, and idle because of a disk
			busy += ticks
		}
	}
	return busy, total, nil
}

// memoryInUse is per cent of the machine's.
func memoryInUse() (float64, error) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	kilobytes := func(name string) float64 {
		var n float64
		_, rest, _ := strings.Cut(string(text), name+":")
		_, _ = fmt.Sscan(rest, &n)
		return n
	}
	all, available := kilobytes("MemTotal"), kilobytes("MemAvailable")
	if all == 0 {
		return 0, errors.New("/proc/meminfo tells no MemTotal")
	}
	return 100 * (1 - available/all), nil
}
