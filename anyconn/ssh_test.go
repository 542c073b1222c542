package anyconn

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"evnet/conformance/wraptest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

var hostKey = sync.OnceValues(func() (ssh.Signer, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return ssh.NewSignerFromKey(key)
})

// channelConn makes a conn of a server's channel. Like the conn of ssh.Client.Dial, it has no deadlines.
type channelConn struct {
	ssh.Channel
	over ssh.ConnMetadata
}

func (c channelConn) LocalAddr() net.Addr              { return c.over.LocalAddr() }
func (c channelConn) RemoteAddr() net.Addr             { return c.over.RemoteAddr() }
func (c channelConn) SetDeadline(time.Time) error      { return errors.ErrUnsupported }
func (c channelConn) SetReadDeadline(time.Time) error  { return errors.ErrUnsupported }
func (c channelConn) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }

// sshChannels returns the two ends of a channel of an SSH connection over TCP. It is a forwarded connection that the
// SSH server serves itself.
func sshChannels(t testing.TB) (dialled, accepted net.Conn) {
	key, err := hostKey()
	require.NoError(t, err)
	c, s := tcpConns(t)
	taken := make(chan net.Conn, 1)
	served := make(chan struct{})
	go func() {
		defer close(served)
		config := &ssh.ServerConfig{NoClientAuth: true}
		config.AddHostKey(key)
		conn, channels, requests, err := ssh.NewServerConn(s, config)
		if !assert.NoError(t, err) {
			return
		}
		go ssh.DiscardRequests(requests)
		for offered := range channels {
			channel, requests, err := offered.Accept()
			if assert.NoError(t, err) {
				go ssh.DiscardRequests(requests)
				taken <- channelConn{channel, conn}
			}
		}
		_ = conn.Close()
	}()
	conn, channels, requests, err := ssh.NewClientConn(c, "", &ssh.ClientConfig{HostKeyCallback: ssh.FixedHostKey(key.PublicKey())})
	require.NoError(t, err)
	client := ssh.NewClient(conn, channels, requests)
	closing(t, client, served)
	dialled, err = client.Dial("tcp", "127.0.0.1:1")
	require.NoError(t, err)
	return dialled, <-taken
}

func TestSSH(t *testing.T) {
	for _, end := range []string{"dialled", "accepted"} {
		t.Run(end, func(t *testing.T) {
			wraptest.Run(t, wraptest.Kind{HalfCloses: true, Holds: 4 * megabyte, Pair: func(t testing.TB) (net.Conn, net.Conn) {
				here, there := sshChannels(t)
				if end == "accepted" {
					here, there = there, here
				}
				return here, there
			}})
		})
	}
}
