// Lesson is the lesson's server and client in one process, which ends once both are done.
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
	port := flag.Int("port", 0, "porta a usar; 0 usa uma livre")
	flag.Parse()

	server := evnet.CreateServer(func(c *evnet.Socket) {
		fmt.Println("Cliente conectado")
		c.On.End(func() { fmt.Println("Cliente desconectado") })
		c.On.Close(func(bool) { c.Server().Close(nil) }) // one client is enough here
		c.WriteString("Mensagem do servidor!\r\n")
		c.Pipe(c)
	})
	err := server.Listen("tcp", "localhost:"+strconv.Itoa(*port), func() {
		fmt.Println("Servidor escutando na porta", server.Address().(*net.TCPAddr).Port)
		connect(server.Address().String())
	})
	if err != nil {
		log.Fatalln("Erro:", err)
	}
	evnet.Run() // returns once the server and the client have closed
}

func connect(address string) {
	client := evnet.Connect("tcp", address, func() { fmt.Println("Cliente conectado ao servidor!") })
	client.On.Data(func(chunk []byte) {
		fmt.Println(string(chunk))
		client.End()
	})
	client.On.End(func() { fmt.Println("Desconectado do servidor") })
	client.On.Error(func(err error) { log.Fatalln("Erro:", err) })
}
