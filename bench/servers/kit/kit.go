// Package kit has what all server programs of the benchmark share: the flags, the line that they print
// when they are ready, and the commands that they read from standard input. None of this code runs while
// messages are served.
package kit

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
)

// BroadcastLines is the number of lines that a tick sends to each socket.
const BroadcastLines = 16

const (
	exitBadFlags    = 2
	exitUnsupported = 3
)

// Options are the flags of a server program.
type Options struct {
	Workload string
	Mode     string
	Loops    int
	Upstream string
	Size     int
}

// Parse parses the flags. If they are invalid, it exits the program. also lists workloads that the program
// supports besides the common ones.
func Parse(also ...string) Options {
	var o Options
	flag.StringVar(&o.Workload, "workload", "echo", "echo, line, broadcast, proxy, accept, idle, firehose or, in some programs, udp")
	flag.StringVar(&o.Mode, "mode", "onread", "how evnet reads for an echo: onread, data or pipe")
	flag.IntVar(&o.Loops, "loops", 1, "number of event loops, if the library can set it")
	flag.StringVar(&o.Upstream, "upstream", "", "`host:port` to which the proxy connects")
	flag.IntVar(&o.Size, "size", 64, "message size in bytes, from which some programs choose the size of read buffers")
	flag.Parse()
	if err := o.check(also); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitBadFlags)
	}
	return o
}

// common lists the workloads of all programs.
var common = []string{"echo", "line", "broadcast", "proxy", "accept", "idle", "firehose"}

func (o Options) check(also []string) error {
	if known := append(also, common...); !slices.Contains(known, o.Workload) {
		return fmt.Errorf("-workload %q: want one of %s", o.Workload, strings.Join(known, ", "))
	}
	switch o.Mode {
	case "onread", "data", "pipe":
	default:
		return fmt.Errorf("-mode %q: want onread, data or pipe", o.Mode)
	}
	if o.Loops < 1 {
		return fmt.Errorf("-loops %d: want 1 or more", o.Loops)
	}
	if o.Size < 1 {
		return fmt.Errorf("-size %d: want 1 or more", o.Size)
	}
	if o.Workload == "proxy" && o.Upstream == "" {
		return errors.New("-workload proxy: want -upstream host:port")
	}
	return nil
}

// BufferSize returns the size of a read buffer for the message size, from 4 KB to 64 KB.
func (o Options) BufferSize() int {
	return min(max(o.Size, 4<<10), 64<<10)
}

// Unsupported exits the program, because the library does not support the workload or an option.
func Unsupported(why string) {
	fmt.Fprintln(os.Stderr, "unsupported:", why)
	os.Exit(exitUnsupported)
}

// Fatal prints err and exits the program.
func Fatal(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// Ready prints the address of the server and starts to serve commands from standard input. The program
// exits at the end of its standard input.
func Ready(addr net.Addr) {
	fmt.Printf("listening %s\n", addr)
	go func() {
		if err := serveCommands(os.Stdin, os.Stdout); err != nil {
			Fatal(err)
		}
		os.Exit(0)
	}()
}

func serveCommands(in io.Reader, out io.Writer) error {
	commands := bufio.NewScanner(in)
	for commands.Scan() {
		answer, err := execute(commands.Text())
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(out, answer); err != nil {
			return err
		}
	}
	return commands.Err()
}

// execute executes a command: rest releases unused memory, stat reports statistics of the Go runtime.
func execute(command string) (answer string, err error) {
	switch command {
	case "rest":
		runtime.GC()
		debug.FreeOSMemory()
		return "ok", nil
	case "stat":
		return stat()
	}
	return "", fmt.Errorf("command %q: want rest or stat", command)
}

func stat() (string, error) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	line, err := json.Marshal(struct {
		Goroutines int    `json:"goroutines"`
		Mallocs    uint64 `json:"mallocs"`
		TotalAlloc uint64 `json:"totalAlloc"`
	}{runtime.NumGoroutine(), m.Mallocs, m.TotalAlloc})
	return string(line), err
}
