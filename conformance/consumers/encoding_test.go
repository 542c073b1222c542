package consumers_test

import (
	"fmt"
	"testing"

	"evnet"
	"evnet/conformance/kit"

	"github.com/stretchr/testify/assert"
)

// Encoding returns the canonical name. An unknown name is an error that quotes it, and changes nothing.
func TestSetEncoding_Names(t *testing.T) {
	l := evnet.NewLoop()
	s, _ := kit.WrapPipe(l, evnet.SocketOptions{})
	assert.Empty(t, s.Encoding())
	for want, names := range map[evnet.Encoding][]evnet.Encoding{
		evnet.UTF8:      {"", "utf8", "UTF-8", evnet.UTF8},
		evnet.UTF16LE:   {"UCS-2", "utf-16le", evnet.UTF16LE},
		evnet.Latin1:    {"binary", evnet.Latin1},
		evnet.ASCII:     {"Ascii", evnet.ASCII},
		evnet.Base64:    {"BASE64", evnet.Base64},
		evnet.Base64URL: {"Base64Url", evnet.Base64URL},
		evnet.Hex:       {"HEX", evnet.Hex},
	} {
		for _, name := range names {
			assert.NoError(t, s.SetEncoding(name))
			assert.Equal(t, want, s.Encoding(), "%q", name)
			err := s.SetEncoding("utf\x00")
			assert.ErrorIs(t, err, evnet.ErrUnknownEncoding)
			assert.ErrorContains(t, err, fmt.Sprintf("%q", "utf\x00"))
			assert.Equal(t, want, s.Encoding())
		}
	}
	s.Destroy(nil)
	kit.Run(t, l)
}
