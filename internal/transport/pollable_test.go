package transport

import (
	"errors"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"

	"evnet/internal/nodecode"
)

// notPollable is the error of a conn of package net after an event that reports only an error.
var notPollable = &net.OpError{Op: "read", Net: "tcp", Err: errors.New("not pollable")}

// A conn of the program may pass "not pollable" on. It is asked again, and the error is replaced if it stays.
func TestRead_OfAConnThatIsNotPollable(t *testing.T) {
	for name, test := range map[string]struct {
		failures int
		want     string
	}{
		"for a moment": {3, "data"},
		"permanently":  {1000, ""},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLoop(t)
			here, _ := pipePair(t)
			reads := 0
			o := own(l, hookedConn{Conn: here, read: func(p []byte) (int, error) {
				reads++
				switch {
				case reads <= test.failures:
					return 0, notPollable
				case reads == test.failures+1:
					return copy(p, "data"), nil
				}
				return 0, io.EOF
			}})
			o.do(func(s *Stream) { s.SetReading(true) })
			l.until(t, func() bool { return len(o.errs) > 0 })
			assert.Equal(t, test.want, o.got.String())
			if test.want == "" {
				assert.Equal(t, "EIO", nodecode.Of(o.errs[0]))
				assert.ErrorContains(t, o.errs[0], "the kernel reports an error of the connection")
			} else {
				assert.Equal(t, io.EOF, o.errs[0])
			}
		})
	}
}
