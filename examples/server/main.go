// Server is the lesson's server: it greets each client and echoes the data that the client sends.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"evnet"
	"evnet/examples/printable"
)

const usage = `Uso: server [opções]

O servidor da lição: saúda cada cliente e devolve o que ele disser. Uma interrupção (Ctrl-C) o encerra.

`

func main() {
	log.SetFlags(0)                             // no date
	log.SetOutput(printable.Records(os.Stderr)) // an error may quote a peer
	port := flag.Int("port", 8080, "porta em que escutar; 0 usa uma livre")
	path := flag.String("unix", "", "`caminho` de um socket Unix em que escutar, em vez da porta")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() > 0 {
		log.Println("Erro: argumento a mais:", flag.Arg(0))
		os.Exit(2)
	}

	server := evnet.CreateServer(func(c *evnet.Socket) {
		fmt.Println("Cliente conectado")
		c.On.End(func() { fmt.Println("Cliente desconectado") })
		c.WriteString("Mensagem do servidor!\r\n")
		c.Pipe(c)
	})
	network, address := "tcp", ":"+strconv.Itoa(*port)
	if *path != "" {
		network, address = "unix", *path
	}
	err := server.Listen(network, address, func() {
		if tcp, ok := server.Address().(*net.TCPAddr); ok {
			printable.Println("Servidor escutando na porta", tcp.Port)
		} else {
			printable.Println("Servidor escutando em", server.Address())
		}
	})
	if err != nil {
		log.Fatalln("Erro:", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, func() { _ = server.Shutdown(ctx) })
	evnet.Run() // returns when no server or socket is open, as a Node process exits
	fmt.Println("Servidor encerrado")
}
