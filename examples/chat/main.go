// Chat is a TCP chat room and its client:
//
//	chat -listen 127.0.0.1:9000
//	chat -connect 127.0.0.1:9000 -nick ana
//
// Netcat works as a client too.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"time"

	"evnet/examples/printable"
)

// limits are the limits that the room sets for its members.
type limits struct {
	maxMembers int
	maxLine    int           // in bytes
	pace       time.Duration // minimum time between two lines of one member
	idle       time.Duration // disconnect a member that sends no line for this long
	queue      int           // maximum number of bytes queued for one member
	slow       time.Duration // disconnect a member whose queue makes no progress for this long
	grace      time.Duration // maximum time for closing the room
}

const usage = `Usage: chat -listen address [flags]
       chat -connect address [-nick name]

A chat room that sends each line of a member to all other members, and a client that joins it. Ctrl-C ends both.

`

func main() {
	log.SetFlags(0) // no date
	log.SetPrefix("chat: ")
	log.SetOutput(printable.Records(os.Stderr)) // an error may quote a peer
	var l limits
	network := flag.String("network", "tcp", "tcp or unix")
	listen := flag.String("listen", "", "open a room at this `address`: port 0 takes a free one; a path for unix")
	connect := flag.String("connect", "", "join the room at this `address`")
	nick := flag.String("nick", "", "member: the `name` to join with; without it, the first line of input is the name")
	flag.IntVar(&l.maxMembers, "members", 1000, "room: maximum number of members")
	flag.IntVar(&l.maxLine, "line", 1000, "room: maximum length of a line in `bytes`")
	flag.DurationVar(&l.pace, "pace", 50*time.Millisecond, "room: minimum time between two lines of one member; 0 for no limit")
	flag.DurationVar(&l.idle, "idle", time.Hour, "room: disconnect a member that sends no line for this long")
	flag.IntVar(&l.queue, "queue", 256<<10, "room: disconnect a member that leaves this many `bytes` unread")
	flag.DurationVar(&l.slow, "slow", 30*time.Second, "room: disconnect a member whose queued messages make no progress for this long")
	flag.DurationVar(&l.grace, "grace", 3*time.Second, "room: how long to wait for the members when it closes")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	var err error
	switch {
	case flag.NArg() > 0:
		usageError("unexpected argument %q", flag.Arg(0))
	case (*listen == "") == (*connect == ""):
		usageError("exactly one of -listen and -connect is required")
	case min(l.maxMembers, l.maxLine, l.queue) < 1 || min(l.idle, l.slow, l.grace) <= 0 || l.pace < 0:
		usageError("the limits of a room must be positive; only -pace may be 0")
	case *listen != "":
		err = serve(*network, *listen, l)
	case *nick != "" && checkName(*nick) != "":
		usageError("-nick %q: %s", *nick, checkName(*nick))
	default:
		err = join(*network, *connect, *nick)
	}
	if err != nil {
		log.Fatalln(err)
	}
}

// usageError reports a mistake in the command line and exits.
func usageError(format string, args ...any) {
	log.Println(fmt.Sprintf(format, args...) + " (use -h for help)")
	os.Exit(2)
}
