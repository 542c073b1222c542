// Alarm monitors a machine and reports each change to all connected managers. It is both the server and the manager:
//
//	alarm -listen 127.0.0.1:9100
//	alarm -connect 127.0.0.1:9100
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"time"

	"evnet/examples/printable"
)

const usage = `Usage: alarm -listen address [flags]
       alarm -connect address [flags]

A server that monitors a machine and reports each change to all connected managers, and a manager that prints the
reports and reconnects. Ctrl-C ends both.

`

func main() {
	log.SetFlags(0)                             // no date
	log.SetOutput(printable.Records(os.Stderr)) // an error may quote a peer
	network := flag.String("network", "tcp", "tcp or unix")
	listen := flag.String("listen", "", "serve at this `address`: port 0 takes a free one; a path for unix")
	connect := flag.String("connect", "", "watch the server at this `address`")

	source := flag.String("sensor", "", "server: machine (Linux), simulated, or file:`PATH` with lines of NAME VALUE; default machine on Linux, else simulated")
	seed := flag.Uint64("seed", 1, "server: seed of the simulated sensor; the same seed gives the same values")
	m := monitor{limits: limits{"": {75, 90}}}
	flag.DurationVar(&m.every, "every", time.Second, "server: how often to read the sensor")
	flag.Func("limits", "server: values at which each level begins, as `[NAME=]WARNING,ALARM`; may be repeated for each name (default 75,90)", m.limits.set)
	flag.Float64Var(&m.hysteresis, "hysteresis", 5, "server: how far a value must fall below a limit to return to the lower level")
	flag.Float64Var(&m.step, "step", 5, "server: report a value that has changed by this much, even within its level")
	flag.DurationVar(&m.beat, "beat", 5*time.Second, "server: heartbeat interval")
	flag.IntVar(&m.maxManagers, "managers", 1000, "server: maximum number of managers")

	var w manager
	flag.DurationVar(&w.timeout, "timeout", 15*time.Second, "manager: disconnect from a server that sends nothing for this long; must be longer than its -beat")
	flag.DurationVar(&w.retry.first, "retry", time.Second, "manager: delay before the first retry; it doubles with each retry")
	flag.DurationVar(&w.retry.longest, "retry-max", 30*time.Second, "manager: maximum delay before a retry")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()

	_, _, addressErr := net.SplitHostPort(*connect)
	switch {
	case flag.NArg() > 0:
		usageError("unexpected argument %q", flag.Arg(0))
	case (*listen == "") == (*connect == ""):
		usageError("exactly one of -listen and -connect is required")
	case *network != "tcp" && *network != "unix":
		usageError("-network must be tcp or unix, not %q", *network)
	case min(m.every, m.beat, w.timeout, w.retry.first, w.retry.longest) <= 0 || m.maxManagers < 1:
		usageError("durations and -managers must be positive")
	case !(min(m.hysteresis, m.step) >= 0): // true for NaN too
		usageError("-hysteresis and -step must not be negative")
	case *connect != "" && *network == "tcp" && addressErr != nil:
		usageError("-connect: %v", addressErr)
	case *connect != "":
		w.watch(*network, *connect)
		return
	}
	sensor, err := openSensor(*source, *seed)
	if err == nil {
		m.sensor = sensor
		err = m.serve(*network, *listen)
	}
	if err != nil {
		log.Fatalln("alarm:", err)
	}
}

// usageError reports a mistake in the command line and exits.
func usageError(format string, args ...any) {
	log.Println("alarm: " + fmt.Sprintf(format, args...) + " (use -h for help)")
	os.Exit(2)
}
