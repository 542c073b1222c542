// Lesson is the lesson's server and client in one process, which exits when both have closed.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"strconv"

	"evnet"
	"evnet/examples/printable"
)

const usage = `Uso: lesson [opções]

O servidor e o cliente da lição num só processo, que termina quando os dois terminam.

`

func main() {
	log.SetFlags(0)                             // no date
	log.SetOutput(printable.Records(os.Stderr)) // an error may quote a peer
	port := flag.Int("port", 0, "porta a usar; 0 usa uma livre")
	path := flag.String("unix", "", "`caminho` de um socket Unix a usar, em vez da porta")
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
		c.On.Close(func(bool) { c.Server().Close(nil) }) // the only client has closed
		c.WriteString("Mensagem do servidor!\r\n")
		c.Pipe(c)
	})
	network, address := "tcp", "localhost:"+strconv.Itoa(*port)
	if *path != "" {
		network, address = "unix", *path
	}
	err := server.Listen(network, address, func() {
		if tcp, ok := server.Address().(*net.TCPAddr); ok {
			printable.Println("Servidor escutando na porta", tcp.Port)
		} else {
			printable.Println("Servidor escutando em", server.Address())
		}
		connect(network, server.Address().String())
	})
	if err != nil {
		log.Fatalln("Erro:", err)
	}
	evnet.Run() // returns when the server and the client have closed
}

func connect(network, address string) {
	client := evnet.Connect(network, address, func() { fmt.Println("Cliente conectado ao servidor!") })
	client.On.Data(func(chunk []byte) {
		fmt.Println(printable.Lines(string(chunk))) // escapes terminal control characters
		client.End()
	})
	client.On.End(func() { fmt.Println("Desconectado do servidor") })
	client.On.Error(func(err error) { log.Fatalln("Erro:", err) })
}
