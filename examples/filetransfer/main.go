// Filetransfer sends a file of any size over TCP. It goes on where it was when the connection breaks, and the file
// appears on the other side only when it is whole and its SHA-256 is right:
//
//	filetransfer -listen :9000 -dir incoming
//	filetransfer -connect host:9000 big.iso
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"evnet/examples/printable"
)

func main() {
	log.SetFlags(0)                             // an error is told as it is, without the date
	log.SetOutput(printable.Records(os.Stderr)) // an error may quote a peer
	listen := flag.String("listen", "", "receive: `host:port` to listen at; port 0 takes a free one")
	dir := flag.String("dir", ".", "receive: the `directory` to put files in")
	connect := flag.String("connect", "", "send: `host:port` of the receiver")
	retries := flag.Int("retries", 10, "send: how often to go on after a broken connection without getting any further")
	idle := flag.Duration("idle", time.Minute, "how long the other side may be silent; 0: for ever")
	flag.Usage = func() {
		fmt.Fprint(os.Stderr, "filetransfer -listen host:port [-dir directory]\nfiletransfer -connect host:port file\n")
		flag.PrintDefaults()
	}
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case *idle < 0 || *retries < 0:
		misused("a limit cannot be negative")
	case (*listen != "") == (*connect != ""):
		misused("give one of -listen and -connect")
	case *listen != "" && flag.NArg() > 0:
		misused(fmt.Sprintf("what is %q? a receiver is given -dir", flag.Arg(0)))
	case *listen != "":
		err = receive(ctx, *listen, *dir, *idle)
	case flag.NArg() != 1:
		misused("give one file to send, behind the flags")
	default:
		err = send(ctx, *connect, flag.Arg(0), *idle, *retries)
	}
	if err != nil {
		log.Fatalln("filetransfer:", err)
	}
}

func misused(why string) {
	log.Println("filetransfer:", why)
	log.Println("filetransfer -h tells how it is used")
	os.Exit(2)
}
