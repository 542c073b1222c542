// Alarm watches a machine, and tells all managers that are connected what has changed. It starts the server,
// or a manager:
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

func main() {
	log.SetFlags(0)                             // an error is told as it is, without the date
	log.SetOutput(printable.Records(os.Stderr)) // an error may quote a peer
	network := flag.String("network", "tcp", "tcp or unix")
	listen := flag.String("listen", "", "serve at this `address`: port 0 takes a free one; a path for unix")
	connect := flag.String("connect", "", "watch the server at this `address`")

	source := flag.String("sensor", "", "server: machine (Linux), simulated, or file:`PATH` with lines of NAME VALUE; by default the machine if it can be")
	seed := flag.Uint64("seed", 1, "server: what the simulated sensor begins with; the same gives the same")
	m := monitor{limits: limits{"": {75, 90}}}
	flag.DurationVar(&m.every, "every", time.Second, "server: how often to look")
	flag.Func("limits", "server: from which value on it is `[NAME=]WARNING,ALARM`; may be given for each name (default 75,90)", m.limits.set)
	flag.Float64Var(&m.hysteresis, "hysteresis", 5, "server: how far a value must fall below a limit to be under it again")
	flag.Float64Var(&m.step, "step", 5, "server: a value that has moved so far is told, also within its level")
	flag.DurationVar(&m.beat, "beat", 5*time.Second, "server: how often to tell that it is alive")
	flag.IntVar(&m.most, "managers", 1000, "server: how many managers there may be")

	var w manager
	flag.DurationVar(&w.timeout, "timeout", 15*time.Second, "manager: leave a server that says nothing for so long; longer than its -beat")
	flag.DurationVar(&w.retry.first, "retry", time.Second, "manager: how long to wait before trying again; doubled each time")
	flag.DurationVar(&w.retry.longest, "retry-max", 30*time.Second, "manager: the longest such wait")
	flag.Parse()

	_, _, noPort := net.SplitHostPort(*connect)
	switch {
	case flag.NArg() > 0:
		misused("what is %q? Every argument is a flag", flag.Arg(0))
	case (*listen == "") == (*connect == ""):
		misused("give one of -listen and -connect")
	case *network != "tcp" && *network != "unix":
		misused("-network is tcp or unix, not %q", *network)
	case min(m.every, m.beat, w.timeout, w.retry.first, w.retry.longest) <= 0 || m.most < 1:
		misused("times and -managers must be positive")
	case !(min(m.hysteresis, m.step) >= 0): // or no number
		misused("-hysteresis and -step must not be negative")
	case *connect != "" && *network == "tcp" && noPort != nil:
		misused("-connect: %v", noPort)
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
		log.Fatalln(err)
	}
}

// misused ends a program that was called in a wrong way.
func misused(format string, args ...any) {
	log.Println(fmt.Sprintf(format, args...) + " (-h tells more)")
	os.Exit(2)
}
