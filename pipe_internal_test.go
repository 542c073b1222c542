package evnet

import (
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
)

// A destination on a loop of its own may drain after it was found full, and before its source is held back:
// that drain does not come again, and the flow goes on all the same.
func TestPipeDrainsBeforeItIsHeldBack(t *testing.T) {
	near, far := NewLoop(), NewLoop()
	from, fromPeer := net.Pipe()
	to, toPeer := net.Pipe()
	src := Wrap(from, &SocketOptions{Loop: near})
	dst := Wrap(to, &SocketOptions{Loop: far, HighWaterMark: 1})
	p := &pipe{src: src, dst: dst, sock: dst}
	src.link(p)
	dst.Resume()
	drained := make(chan struct{})
	dst.Once.Drain(func() { close(drained) })
	_, _ = dst.WriteString("full")
	far.Ref()
	near.Post(func() { // what checkRoom does
		full, _ := dst.room()
		assert.True(t, full)
		_, err := io.ReadFull(toPeer, make([]byte, 4))
		assert.NoError(t, err)
		<-drained
		p.hold(dst.NeedDrain)
		assert.False(t, src.Paused())
		src.Destroy(nil)
		dst.Destroy(nil)
		far.Unref()
	})
	over := make(chan struct{})
	go func() { defer close(over); far.Run() }()
	near.Run()
	<-over
	_, _ = fromPeer.Close(), toPeer.Close()
}
