package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A machine describes where and how a workload was measured.
type machine struct {
	Date       string            `json:"date"`
	Kernel     string            `json:"kernel"`
	CPU        string            `json:"cpu"`
	CPUs       int               `json:"cpus"`
	Go         string            `json:"go"`
	GOMAXPROCS string            `json:"gomaxprocs"` // of the servers
	Pinning    string            `json:"pinning"`
	Versions   map[string]string `json:"versions"`
	Seconds    float64           `json:"seconds"` // duration of each measurement
	Warmup     float64           `json:"warmup"`
}

// pins has the processors of the server and of the load generator. Both are negative if the two are
// not pinned and share all processors; why explains the choice.
type pins struct {
	server, load int
	why          string
}

// choosePins chooses two of the processors that this process may use, on different cores if possible.
func choosePins() pins {
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return pins{-1, -1, fmt.Sprintf("not pinned: %v", err)}
	}
	var cpus []int
	for cpu := range len(allowed) * 64 {
		if allowed.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	if len(cpus) < 2 {
		return pins{-1, -1, "not pinned: server and load share the only processor"}
	}
	p := pins{server: cpus[0], load: cpus[1]}
	for _, cpu := range cpus[1:] {
		if core(cpu) != core(p.server) {
			p.load = cpu
			break
		}
	}
	p.why = fmt.Sprintf("server on processor %d, load on processor %d", p.server, p.load)
	return p
}

// core returns the list of processors that share a core with cpu, as Linux writes it.
func core(cpu int) string {
	content, err := os.ReadFile(fmt.Sprintf("/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu))
	if err != nil {
		return strconv.Itoa(cpu)
	}
	return strings.TrimSpace(string(content))
}

// tryPins starts a program on each processor to check that pinning is allowed.
func tryPins(p pins) pins {
	if p.server < 0 {
		return p
	}
	for _, cpu := range []int{p.server, p.load} {
		cmd := exec.Command("true")
		if err := startPinned(cmd, cpu); err != nil {
			return pins{-1, -1, fmt.Sprintf("not pinned: %v", err)}
		}
		_ = cmd.Wait()
	}
	return p
}

func thisMachine(p pins, seconds, warmup time.Duration) machine {
	m := machine{
		Date: time.Now().UTC().Format("2006-01-02 15:04 UTC"), CPU: "unknown", CPUs: runtime.NumCPU(),
		Go: runtime.Version(), GOMAXPROCS: "1, by the pinning", Pinning: p.why,
		Seconds: seconds.Seconds(), Warmup: warmup.Seconds(), Versions: map[string]string{},
	}
	if p.server < 0 {
		m.GOMAXPROCS = strconv.Itoa(runtime.GOMAXPROCS(0))
	}
	if set := os.Getenv("GOMAXPROCS"); set != "" {
		m.GOMAXPROCS = set + ", by the environment"
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err == nil {
		m.Kernel = unix.ByteSliceToString(name.Sysname[:]) + " " + unix.ByteSliceToString(name.Release[:])
	}
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := strings.Cut(string(info), "model name"); ok {
			line, _, _ := strings.Cut(rest, "\n")
			m.CPU = strings.TrimSpace(strings.TrimLeft(line, "\t :"))
		}
	}
	return m
}

// raiseFileLimit raises the limit of open files of this process to its maximum and returns it. Child
// processes inherit the limit.
func raiseFileLimit() (uint64, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("getrlimit: %w", err)
	}
	limit.Cur = limit.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("setrlimit: %w", err)
	}
	return limit.Max, nil
}

// residentBytes returns the resident memory of a process.
func residentBytes(pid int) (int64, error) {
	name := filepath.Join("/proc", strconv.Itoa(pid), "status")
	content, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(content), "VmRSS:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0, fmt.Errorf("%s has no VmRSS", name)
	}
	kilobytes, err := strconv.ParseInt(fields[0], 10, 64)
	return kilobytes << 10, err
}
