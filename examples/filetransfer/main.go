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
	wait := flag.Duration("wait", 10*time.Minute, "send: how long the receiver may work on its disk without any progress; 0: forever")
	l := defaults
	flag.DurationVar(&l.idle, "idle", l.idle, "how long the other side may be silent; 0: forever")
	flag.IntVar(&l.senders, "senders", l.senders, "receive: how many senders at once; this and all limits below: 0 is any number")
	flag.IntVar(&l.perAddress, "per-address", l.perAddress, "receive: how many senders, and how many unfinished files, of one address")
	flag.Var(&l.slowest, "slowest", "receive: how many `bytes` a second a sender has to send, on average over a minute")
	flag.Var(&l.file, "max-file", "receive: the largest file, in `bytes`")
	flag.Var(&l.total, "max-total", "receive: how many `bytes` the directory may hold")
	flag.IntVar(&l.files, "max-files", l.files, "receive: how many files the directory may hold")
	flag.IntVar(&l.parts, "max-parts", l.parts, "receive: how many of them may be unfinished")
	flag.DurationVar(&l.partAge, "part-age", l.partAge, "receive: remove an unfinished file that nobody has written to for this long")
	flag.Var(&l.free, "keep-free", "receive: how many `bytes` of the disk to leave free")
	flag.Var(&l.hash, "hash", "receive: how many `bytes` of its own files to hash in an hour")
	flag.Usage = func() {
		fmt.Fprint(os.Stderr, "filetransfer -listen host:port [-dir directory]\nfiletransfer -connect host:port file\n")
		flag.PrintDefaults()
	}
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case l.check() != nil || *retries < 0 || *wait < 0:
		misused("a limit cannot be negative")
	case (*listen != "") == (*connect != ""):
		misused("give one of -listen and -connect")
	case *listen != "" && flag.NArg() > 0:
		misused(fmt.Sprintf("what is %q? a receiver is given -dir", flag.Arg(0)))
	case *listen != "":
		err = receive(ctx, *listen, *dir, l)
	case flag.NArg() != 1:
		misused("give one file to send, behind the flags")
	default:
		err = send(ctx, *connect, flag.Arg(0), patience{l.idle, *wait, *retries})
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
