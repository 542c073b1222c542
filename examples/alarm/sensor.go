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

// sensor returns the current readings, without their levels.
type sensor func() ([]reading, error)

// openSensor returns the sensor that the flag names.
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
	return nil, fmt.Errorf("-sensor must be machine, simulated or file:PATH, not %q", source)
}

// readFile reads a file that another program writes. Each line has a name and a value.
func readFile(path string) ([]reading, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxLine))
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
			return nil, fmt.Errorf("%s: invalid line %.40q: want a name and a value", path, line)
		}
		readings = append(readings, reading{Name: fields[0], Value: value})
	}
	if len(readings) == 0 {
		return nil, fmt.Errorf("%s: no readings", path)
	}
	if err := check(readings); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return readings, nil
}

// simulated returns a sensor whose values vary at random. The same seed gives the same values.
func simulated(seed uint64) sensor {
	random := rand.New(rand.NewPCG(seed, 0))
	cpu, memory := 50.0, 50.0
	step := func(value, maxChange float64) float64 {
		return min(max(value+(random.Float64()*2-1)*maxChange, 0), 100)
	}
	return func() ([]reading, error) {
		cpu, memory = step(cpu, 20), step(memory, 5)
		return []reading{{Name: "cpu", Value: cpu}, {Name: "memory", Value: memory}}, nil
	}
}

// machine returns a sensor of this machine (Linux). It reports the CPU time in use since the previous reading, or since boot
// at first, and the memory in use, both in per cent.
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
		if nowTotal > total { // otherwise too little time has passed: keep the last value
			load = 100 * (nowBusy - busy) / (nowTotal - total)
		}
		busy, total = nowBusy, nowTotal
		return []reading{{Name: "cpu", Value: min(max(load, 0), 100)}, {Name: "memory", Value: memory}}, nil
	}
}

// processors returns the busy and the total time of all processors.
func processors() (busy, total float64, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line) // cpu user nice system idle iowait irq softirq steal; the rest is part of user and nice
	if len(fields) < 9 {
		return 0, 0, errors.New("/proc/stat: invalid line " + strconv.Quote(line))
	}
	for i, field := range fields[1:9] {
		ticks, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("/proc/stat: %w", err)
		}
		if total += ticks; i != 3 && i != 4 { // idle and iowait
			busy += ticks
		}
	}
	return busy, total, nil
}

// memoryInUse returns the memory in use in per cent.
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
		return 0, errors.New("/proc/meminfo: no MemTotal")
	}
	return 100 * (1 - available/all), nil
}
