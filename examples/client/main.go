// Client is the lesson's client: it prints the first message of the server and says goodbye.
package main

import (
	"flag"
	"fmt"
	"log"
	"strconv"

	"evnet"
)

func main() {
	log.SetFlags(0) // an error is told as it is, without the date
	port := flag.Int("port", 8080, "porta do servidor")
	path := flag.String("unix", "", "`caminho` do socket Unix do servidor, em vez da porta")
	flag.Parse()

	network, address := "tcp", "localhost:"+strconv.Itoa(*port)
	if *path != "" {
		network, address = "unix", *path
	}
	client := evnet.Connect(network, address, func() { fmt.Println("Cliente conectado ao servidor!") })
	client.On.Data(func(chunk []byte) {
		fmt.Println(string(chunk))
		client.End()
	})
	client.On.End(func() { fmt.Println("Desconectado do servidor") })
	client.On.Error(func(err error) { log.Fatalln("Erro:", err) })
	evnet.Run()
}
