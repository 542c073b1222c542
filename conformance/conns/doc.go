// Package conns has the tests of sockets over every kind of net.Conn: kernel connections, pipes, TLS, compression, conns
// that embed another, and conns that do not conform to the interface.
package conns
