package trust

import (
	"net"
	"testing"
	"time"

	"evnet"

	"github.com/stretchr/testify/assert"
)

// embedding is a type of a program's own, which goroutines serve.
type embedding struct{ *net.TCPConn }

// A reset that has come before this side's end is the reader's to tell, as over a kernel conn.
func TestOddEndAfterAReset(t *testing.T) {
	here, there := pair(t)
	l := evnet.NewLoop()
	s := wrap(l, embedding{here})
	s.Pause()
	l.Post(func() {
		assert.NoError(t, there.SetLinger(0))
		assert.NoError(t, there.Close())
		s.End()
	})
	s.On.Finish(func() { l.AfterFunc(time.Millisecond, s.Resume) }) // when the end has failed
	run(t, l)
	assert.Equal(t, "ECONNRESET", evnet.Code(s.Err()), "%v", s.Err())
}
