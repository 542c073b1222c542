package dgram_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"evnet"
	"evnet/dgram"
)

func Example() {
	var server *dgram.Socket
	server, _ = dgram.CreateSocket("udp4", func(msg []byte, from netip.AddrPort) {
		server.SendTo(msg, from, nil)
	})
	err := server.Bind("127.0.0.1:0", func() { fmt.Println("listening") })
	if err != nil {
		fmt.Println(err)
		return
	}
	client, _ := dgram.CreateSocket("udp4", nil)
	client.On.Message(func(msg []byte, from netip.AddrPort) {
		fmt.Printf("%s, from the server: %t\n", msg, from == server.Address())
		client.Close(nil)
		server.Close(nil)
	})
	client.Send([]byte("hello"), server.Address().String(), nil)
	evnet.Run()
	// Output:
	// listening
	// hello, from the server: true
}

func ExampleNewSocket() {
	_, err := dgram.NewSocket(&dgram.SocketOptions{Network: "udp"})
	fmt.Println(err)
	fmt.Println(evnet.Code(err))
	// Output:
	// dgram: network is neither udp4 nor udp6: "udp"
	// ERR_SOCKET_BAD_TYPE
}

func ExampleWrap() {
	conn, _ := net.ListenPacket("udp4", "127.0.0.1:0")
	socket, _ := dgram.Wrap(conn, nil)
	socket.On.Listening(func() { socket.Close(func() { fmt.Println("closed") }) })
	fmt.Println(socket.Address() == conn.LocalAddr().(*net.UDPAddr).AddrPort())
	evnet.Run()
	// Output:
	// true
	// closed
}

func ExampleSocket_OnRead() {
	socket, _ := dgram.CreateSocket("udp4", nil)
	total := 0
	socket.OnRead(func(msg []byte, _ netip.AddrPort) { // msg is borrowed: valid until the function returns
		if total += len(msg); total == 15 {
			fmt.Println(total, "bytes")
			socket.Close(nil)
		}
	})
	socket.Bind("127.0.0.1:0", nil)
	for range 3 {
		socket.SendTo([]byte("hello"), socket.Address(), nil)
	}
	evnet.Run()
	// Output: 15 bytes
}

func ExampleSocket_Connect() {
	server, _ := dgram.CreateSocket("udp4", nil)
	server.On.Message(func(msg []byte, _ netip.AddrPort) {
		fmt.Printf("%s\n", msg)
		server.Close(nil)
	})
	server.Bind("127.0.0.1:0", nil)
	client, _ := dgram.CreateSocket("udp4", nil)
	client.Connect(server.Address().String(), func(err error) {
		remote, _ := client.RemoteAddress()
		fmt.Println(err, remote == server.Address())
		fmt.Println(evnet.Code(client.Send(nil, "127.0.0.1:9", nil)))
		client.Send([]byte("to the one peer"), "", func(error) { client.Close(nil) })
	})
	evnet.Run()
	// Output:
	// <nil> true
	// ERR_SOCKET_DGRAM_IS_CONNECTED
	// to the one peer
}

func ExampleSocket_Disconnect() {
	socket, _ := dgram.CreateSocket("udp4", nil)
	fmt.Println(socket.Disconnect())
	socket.Connect("127.0.0.1:9", func(error) {
		fmt.Println(socket.Disconnect())
		socket.Close(nil)
	})
	evnet.Run()
	// Output:
	// dgram: socket is not connected
	// <nil>
}

func ExampleSocket_Send() {
	socket, _ := dgram.CreateSocket("udp4", nil)
	socket.Send(make([]byte, 70000), "127.0.0.1:9", func(err error) {
		fmt.Println(errors.Is(err, syscall.EMSGSIZE), evnet.Code(err))
		socket.Close(nil)
	})
	fmt.Println(socket.Send(nil, "127.0.0.1:0", nil))
	evnet.Run()
	// Output:
	// send udp4 127.0.0.1:0: dgram: port is not in the range 1 to 65535
	// true EMSGSIZE
}

func ExampleSocket_SendBuffers() {
	socket, _ := dgram.CreateSocket("udp4", nil)
	socket.On.Message(func(msg []byte, _ netip.AddrPort) {
		fmt.Printf("%s\n", msg)
		socket.Close(nil)
	})
	socket.Bind("127.0.0.1:0", nil)
	socket.SendBuffers(net.Buffers{[]byte("one "), []byte("message")}, socket.Address().String(), nil)
	evnet.Run()
	// Output: one message
}

func ExampleSocket_AddMembership() {
	socket, _ := dgram.NewSocket(&dgram.SocketOptions{Network: "udp4", ReuseAddr: true})
	fmt.Println(evnet.Code(socket.AddMembership("127.0.0.1", "")))
	socket.Close(nil)
	evnet.Run()
	// Output: EINVAL
}

func ExampleSocketOptions_context() {
	ctx, cancel := context.WithCancel(context.Background())
	socket, _ := dgram.NewSocket(&dgram.SocketOptions{Network: "udp4", Context: ctx})
	socket.On.Listening(cancel)
	socket.On.Close(func() { fmt.Println("closed") })
	socket.Bind("127.0.0.1:0", nil)
	evnet.Run()
	// Output: closed
}
