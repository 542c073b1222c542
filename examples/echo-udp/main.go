// Echo-udp is a UDP server that sends back what it gets, and with -to its client: each line of the
// standard input goes out as one datagram, and the answers are printed. An interrupt ends both.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"evnet"
	"evnet/dgram"
	"evnet/examples/printable"
)

const usage = `Uso: echo-udp [opções]

Um servidor UDP que devolve cada datagrama a quem o enviou, e com -to o seu cliente: cada linha da entrada
padrão é um datagrama, e as respostas são mostradas. Uma interrupção (Ctrl-C) encerra os dois.

`

func main() {
	log.SetFlags(0)                             // an error is told as it is, without the date
	log.SetOutput(printable.Records(os.Stderr)) // an error may quote a peer
	port := flag.Int("port", 41234, "servidor: porta em que escutar; 0 usa uma livre")
	to := flag.String("to", "", "cliente: `endereço:porta` do servidor")
	wait := flag.Duration("wait", 2*time.Second, "cliente: quanto esperar por uma resposta")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	switch {
	case flag.NArg() > 0:
		log.Println("Erro: argumento a mais:", flag.Arg(0))
		os.Exit(2)
	case *wait <= 0:
		log.Println("Erro: -wait deve ser maior que zero:", *wait)
		os.Exit(2)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	socket, err := dgram.NewSocket(&dgram.SocketOptions{Network: "udp4", Context: ctx}) // the signal closes it
	if err != nil {
		log.Fatalln("Erro:", err)
	}
	if *to != "" {
		client(socket, *to, *wait)
		return
	}
	server(socket, *port)
}

func server(socket *dgram.Socket, port int) {
	socket.On.Message(func(msg []byte, from netip.AddrPort) {
		printable.Printf("%d bytes de %s\n", len(msg), from)
		if err := socket.SendTo(msg, from, nil); err != nil {
			log.Println("Erro:", err)
		}
	})
	socket.On.Error(func(err error) { log.Println("Erro:", err) })
	socket.On.Close(func() { fmt.Println("Servidor encerrado") })
	err := socket.Bind(":"+strconv.Itoa(port), func() {
		printable.Println("Servidor UDP escutando na porta", socket.Address().Port())
	})
	if err != nil {
		log.Fatalln("Erro:", err)
	}
	evnet.Run() // returns once the socket is closed
}

// errSilence is the client's own.
var errSilence = errors.New("nenhuma resposta do servidor")

// client asks one line after the other: a datagram may be lost, and then no answer comes.
func client(socket *dgram.Socket, to string, wait time.Duration) {
	var failure error
	fail := func(err error) {
		failure = err
		_ = socket.Close(nil)
	}
	loop := socket.Loop()
	silence := loop.AfterFunc(wait, func() { fail(errSilence) })
	silence.Stop()
	answered := make(chan struct{}, 1)
	ask := func(line string) {
		silence.Reset(wait)
		if err := socket.Send([]byte(line), "", nil); err != nil {
			fail(err)
		}
	}
	socket.On.Message(func(msg []byte, _ netip.AddrPort) {
		printable.Printf("%s\n", msg)
		silence.Stop()
		select {
		case answered <- struct{}{}:
		default: // an answer that comes twice
		}
	})
	socket.On.Error(fail)
	socket.On.Connect(func() {
		go func() { // waiting for the standard input must not stop the loop
			for lines := bufio.NewScanner(os.Stdin); lines.Scan(); <-answered {
				line := lines.Text()
				loop.Post(func() { ask(line) })
			}
			_ = socket.Close(nil)
		}()
	})
	socket.On.Close(func() { silence.Stop() })
	if err := socket.Connect(to, nil); err != nil {
		log.Fatalln("Erro:", err)
	}
	evnet.Run()
	if failure != nil {
		log.Fatalln("Erro:", failure)
	}
}
