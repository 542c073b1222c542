// Server is the lesson's server: it greets each client and sends back whatever the client says.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"strconv"

	"evnet"
)

func main() {
	log.SetFlags(0) // an error is told as it is, without the date
	port := flag.Int("port", 8080, "porta em que escutar; 0 usa uma livre")
	path := flag.String("unix", "", "`caminho` de um socket Unix em que escutar, em vez da porta")
	flag.Parse()

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
			fmt.Println("Servidor escutando na porta", tcp.Port)
		} else {
			fmt.Println("Servidor escutando em", server.Address())
		}
	})
	if err != nil {
		log.Fatalln("Erro:", err)
	}
	evnet.Run() // returns once no server or socket is left open, as a Node process exits
}
