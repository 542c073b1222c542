// Package kit is what every server program of the benchmark shares: its flags, the words it says on
// its standard output, and the orders it takes on its standard input. Nothing here is on the path
// of a message.
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

// BroadcastLines is how many lines one tick sends to each socket.
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

// Parse reads the flags; with bad ones the program ends. also are the workloads that not all programs do.
func Parse(also ...string) Options {
	var o Options
	flag.StringVar(&o.Workload, "workload", "echo", "echo, line, broadcast, proxy, accept, idle, firehose or, some programs, udp")
	flag.StringVar(&o.Mode, "mode", "onread", "how evnet echoes: onread, data or pipe")
	flag.IntVar(&o.Loops, "loops", 1, "event loops, where the library can choose")
	flag.StringVar(&o.Upstream, "upstream", "", "where the proxy connects to, host:port")
	flag.IntVar(&o.Size, "size", 64, "message size in bytes, a hint for read buffers")
	flag.Parse()
	if err := o.check(also); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitBadFlags)
	}
	return o
}

var everybodys = []string{"echo", "line", "broadcast", "proxy", "accept", "idle", "firehose"}

func (o Options) check(also []string) error {
	if known := append(also, everybodys...); !slices.Contains(known, o.Workload) {
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
		return errors.New("-workload proxy wants -upstream host:port")
	}
	return nil
}

// BufferSize is the read buffer for the message size: 4 KB to 64 KB.
func (o Options) BufferSize() int {
	return min(max(o.Size, 4<<10), 64<<10)
}

// Unsupported ends the program, as the library has no way to do what was asked for.
func Unsupported(why string) {
	fmt.Fprintln(os.Stderr, "unsupported:", why)
	os.Exit(exitUnsupported)
}

// Fatal ends the program with err.
func Fatal(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// Ready says where the server listens, and takes orders from then on: the program ends when its
// standard input does.
func Ready(addr net.Addr) {
	fmt.Printf("listening %s\n", addr)
	go func() {
		if err := obey(os.Stdin, os.Stdout); err != nil {
			Fatal(err)
		}
		os.Exit(0)
	}()
}

func obey(in io.Reader, out io.Writer) error {
	orders := bufio.NewScanner(in)
	for orders.Scan() {
		answer, err := carryOut(orders.Text())
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(out, answer); err != nil {
			return err
		}
	}
	return orders.Err()
}

func carryOut(order string) (answer string, err error) {
	switch order {
	case "rest":
		runtime.GC()
		debug.FreeOSMemory()
		return "ok", nil
	case "stat":
		return stat()
	}
	return "", fmt.Errorf("order %q: want rest or stat", order)
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
