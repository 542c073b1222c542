package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Whatever a proxy sends, the parser returns an address, no address, or an error. The result does not depend on how the
// data is split.
func FuzzHeader(f *testing.F) {
	for _, header := range []string{
		"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\nGET",
		"PROXY TCP6 ::ffff:203.0.113.7 2001:db8::1 4711 443\r\n",
		"PROXY UNKNOWN\r\n",
		"PROXY \r\n",
		string(prefixV2) + "\x21\x11\x00\x0c\xcb\x00\x71\x07\xc0\x00\x02\x01\x12\x67\x01\xbb",
		string(prefixV2) + "\x21\x21\x00\x0c\xcb\x00\x71\x07\xc0\x00\x02\x01\x12\x67\x01\xbb",
		string(prefixV2) + "\x20\x00\x00\x00",
		string(prefixV2) + "\x21\x11\xff\xff",
	} {
		f.Add([]byte(header))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		size, header, err := splitHeader(data, false)
		if size == 0 {
			return
		}
		require.NoError(t, err)
		require.LessOrEqual(t, size, maxHeader)
		require.Equal(t, data[:size], header)
		for i := range size {
			n, _, err := splitHeader(data[:i], false)
			require.Zero(t, n, "%q", data[:i])
			require.NoError(t, err, "%q", data[:i])
		}
		client, err := clientOf(header)
		if err != nil {
			assert.False(t, client.IsValid())
		} else if client.IsValid() {
			assert.False(t, client.Addr().Is4In6())
			assert.Empty(t, client.Addr().Zone())
		}
	})
}
