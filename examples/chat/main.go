// Chat is a room in which everybody hears what anybody says. It starts the room, or a member of it:
//
//	chat -listen 127.0.0.1:9000
//	chat -connect 127.0.0.1:9000 -nick ana
//
// Netcat is a member too.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"time"

	"evnet/examples/printable"
)

// rules are what the room asks of its members.
type rules struct {
	members int           // how many there may be
	line    int           // the longest line, in bytes
	pace    time.Duration // between two lines of one member
	idle    time.Duration // how long a member may be silent
	queue   int           // the bytes that may wait for a member who does not read
	slow    time.Duration // how long they may wait without progress
	grace   time.Duration // how long closing the room may take
}

func main() {
	log.SetFlags(0)                             // an error is told as it is, without the date
	log.SetOutput(printable.Records(os.Stderr)) // an error may quote a peer
	var r rules
	network := flag.String("network", "tcp", "tcp or unix")
	listen := flag.String("listen", "", "open the room at this `address`: port 0 takes a free one; a path for unix")
	connect := flag.String("connect", "", "join the room at this `address`")
	nick := flag.String("nick", "", "member: the `name` to begin with; without it the first line is the name")
	flag.IntVar(&r.members, "members", 1000, "room: how many may be there")
	flag.IntVar(&r.line, "line", 1000, "room: the longest line, in `bytes`")
	flag.DurationVar(&r.pace, "pace", 50*time.Millisecond, "room: who is faster than a line in this time is held back; 0 holds nobody")
	flag.DurationVar(&r.idle, "idle", time.Hour, "room: who says nothing for so long has to leave")
	flag.IntVar(&r.queue, "queue", 256<<10, "room: who leaves so many `bytes` unread is dropped")
	flag.DurationVar(&r.slow, "slow", 30*time.Second, "room: disconnect a member whose queued messages make no progress for this long")
	flag.DurationVar(&r.grace, "grace", 3*time.Second, "room: how long to wait for the members when it closes")
	flag.Parse()
	var err error
	switch {
	case flag.NArg() > 0:
		misused("what is %q? Every argument is a flag", flag.Arg(0))
	case (*listen == "") == (*connect == ""):
		misused("give one of -listen and -connect")
	case min(r.members, r.line, r.queue) < 1 || min(r.idle, r.slow, r.grace) <= 0 || r.pace < 0:
		misused("the limits of a room must be positive; -pace may be 0")
	case *listen != "":
		err = serve(*network, *listen, r)
	case *nick != "" && fault(*nick) != "":
		misused("-nick %q: %s", *nick, fault(*nick))
	default:
		err = visit(*network, *connect, *nick)
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
