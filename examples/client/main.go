// Client is the lesson's client: it prints the first message of the server and ends the connection.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"evnet"
	"evnet/examples/printable"
)

const usage = `Uso: client [opções]

O cliente da lição: mostra a primeira mensagem do servidor e se despede.

`

func main() {
	log.SetFlags(0)                             // no date
	log.SetOutput(printable.Records(os.Stderr)) // an error may quote a peer
	port := flag.Int("port", 8080, "porta do servidor")
	path := flag.String("unix", "", "`caminho` do socket Unix do servidor, em vez da porta")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() > 0 {
		log.Println("Erro: argumento a mais:", flag.Arg(0))
		os.Exit(2)
	}

	network, address := "tcp", "localhost:"+strconv.Itoa(*port)
	if *path != "" {
		network, address = "unix", *path
	}
	client := evnet.Connect(network, address, func() { fmt.Println("Cliente conectado ao servidor!") })
	client.On.Data(func(chunk []byte) {
		fmt.Println(printable.Lines(string(chunk))) // escapes terminal control characters
		client.End()
	})
	client.On.End(func() { fmt.Println("Desconectado do servidor") })
	client.On.Error(func(err error) { log.Fatalln("Erro:", err) })
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, func() { client.Destroy(nil) }) // if the server sends nothing
	evnet.Run()
}
