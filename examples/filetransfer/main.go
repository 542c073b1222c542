// Filetransfer sends a file of any size over TCP. It resumes after a lost connection. The receiver creates the file only when it is
// complete and its SHA-256 matches:
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

const usage = `Usage: filetransfer -listen host:port [-dir directory]
       filetransfer -connect host:port file

Sends a file of any size over TCP. After a lost connection the transfer resumes.

`

func main() {
	log.SetFlags(0)                             // no date
	log.SetOutput(printable.Records(os.Stderr)) // an error may quote a peer
	listen := flag.String("listen", "", "receive: `host:port` to listen on; port 0 takes a free one")
	dir := flag.String("dir", ".", "receive: the `directory` for the files")
	connect := flag.String("connect", "", "send: `host:port` of the receiver")
	retries := flag.Int("retries", 10, "send: how many consecutive failures without progress before the sender gives up")
	wait := flag.Duration("wait", 10*time.Minute, "send: how long the receiver may work on its disk without progress; 0 for no limit")
	l := defaults
	flag.DurationVar(&l.idle, "idle", l.idle, "how long the other side may send nothing; 0 for no limit")
	flag.IntVar(&l.senders, "senders", l.senders, "receive: maximum number of simultaneous senders; 0 for no limit, as for all limits of the receiver")
	flag.IntVar(&l.perAddress, "per-address", l.perAddress, "receive: maximum number of senders, and of unfinished files, from one address")
	flag.Var(&l.slowest, "slowest", "receive: minimum speed of a sender in `bytes` per second, averaged over a minute")
	flag.Var(&l.file, "max-file", "receive: maximum size of a file in `bytes`")
	flag.Var(&l.total, "max-total", "receive: maximum total size of the files in the directory in `bytes`")
	flag.IntVar(&l.files, "max-files", l.files, "receive: maximum number of files in the directory")
	flag.IntVar(&l.parts, "max-parts", l.parts, "receive: maximum number of unfinished files")
	flag.DurationVar(&l.partAge, "part-age", l.partAge, "receive: remove an unfinished file that has not been written to for this long")
	flag.Var(&l.free, "keep-free", "receive: how many `bytes` to keep free on the disk")
	flag.Var(&l.hash, "hash", "receive: maximum number of `bytes` of its own files to hash per hour")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case l.check() != nil || *retries < 0 || *wait < 0:
		usageError("a limit cannot be negative")
	case (*listen != "") == (*connect != ""):
		usageError("exactly one of -listen and -connect is required")
	case *listen != "" && flag.NArg() > 0:
		usageError(fmt.Sprintf("unexpected argument %q: a receiver takes its directory from -dir", flag.Arg(0)))
	case *listen != "":
		err = receive(ctx, *listen, *dir, l)
	case flag.NArg() != 1:
		usageError("one file to send is required, after the flags")
	default:
		err = send(ctx, *connect, flag.Arg(0), senderLimits{l.idle, *wait, *retries})
	}
	if err != nil {
		log.Fatalln("filetransfer:", err)
	}
}

// usageError reports a mistake in the command line and exits.
func usageError(text string) {
	log.Println("filetransfer: " + text + " (use -h for help)")
	os.Exit(2)
}
