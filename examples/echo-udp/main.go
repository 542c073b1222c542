// Echo-udp is a UDP echo server. With -to it is a client: it sends each line of the standard input as one datagram and prints
// the replies. An interrupt ends both.
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

Um servidor UDP que devolve cada datagrama a quem o enviou. Com -to, é o cliente: envia cada linha da entrada
padrão num datagrama e mostra as respostas. Uma interrupção (Ctrl-C) encerra os dois.

`

func main() {
	log.SetFlags(0)                             // no date
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
	socket, err := dgram.NewSocket(&dgram.SocketOptions{Network: "udp4", Context: ctx}) // a signal closes the socket
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
	evnet.Run() // returns when the socket is closed
}

// errNoReply is the error of the client when the timeout expires.
var errNoReply = errors.New("nenhuma resposta do servidor")

// client sends one line at a time and waits for its reply. A datagram may be lost, so the wait has a timeout.
func client(socket *dgram.Socket, to string, wait time.Duration) {
	var failure error
	fail := func(err error) {
		failure = err
		_ = socket.Close(nil)
	}
	loop := socket.Loop()
	timeout := loop.AfterFunc(wait, func() { fail(errNoReply) })
	timeout.Stop()
	replied := make(chan struct{}, 1)
	send := func(line string) {
		timeout.Reset(wait)
		if err := socket.Send([]byte(line), "", nil); err != nil {
			fail(err)
		}
	}
	socket.On.Message(func(msg []byte, _ netip.AddrPort) {
		printable.Printf("%s\n", msg)
		timeout.Stop()
		select {
		case replied <- struct{}{}:
		default: // a duplicate reply
		}
	})
	socket.On.Error(fail)
	socket.On.Connect(func() {
		go func() { // reading the standard input blocks, which the loop must not do
			for lines := bufio.NewScanner(os.Stdin); lines.Scan(); <-replied {
				line := lines.Text()
				loop.Post(func() { send(line) })
			}
			_ = socket.Close(nil)
		}()
	})
	socket.On.Close(func() { timeout.Stop() })
	if err := socket.Connect(to, nil); err != nil {
		log.Fatalln("Erro:", err)
	}
	evnet.Run()
	if failure != nil {
		log.Fatalln("Erro:", failure)
	}
}
