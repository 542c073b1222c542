package recipes_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const proxyV2 = "\r\n\r\n\x00\r\nQUIT\n"

// headerV2 makes a header of version 2.
func headerV2(command, family byte, body string) string {
	return proxyV2 + string([]byte{command, family}) + string(binary.BigEndian.AppendUint16(nil, uint16(len(body)))) + body
}

// addressesV2 returns the source and the destination, of one family, in binary form.
func addressesV2(source, destination string) string {
	from, to := netip.MustParseAddrPort(source), netip.MustParseAddrPort(destination)
	p := append(from.Addr().AsSlice(), to.Addr().AsSlice()...)
	p = binary.BigEndian.AppendUint16(p, from.Port())
	return string(binary.BigEndian.AppendUint16(p, to.Port()))
}

// askAddress sends a header and a request, and returns the address in the answer. It returns "" for a connection that
// was closed without an answer.
func askAddress(t *testing.T, r *running, chunks ...string) (answer string, local net.Addr) {
	t.Helper()
	c := r.dial()
	for _, chunk := range chunks {
		if _, err := io.WriteString(c, chunk); err != nil {
			break
		}
	}
	got, _ := io.ReadAll(c) // a rejected connection may be reset
	_ = c.Close()
	_, body, _ := bytes.Cut(got, []byte("\r\n\r\n"))
	return strings.TrimSuffix(strings.TrimPrefix(string(body), "your address is "), "\n"), c.LocalAddr()
}

const request = "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"

var (
	tcp4 = addressesV2("203.0.113.7:4711", "192.0.2.1:443")
	tcp6 = addressesV2("[2001:db8::7]:4711", "[2001:db8::1]:443")
)

func TestProxyHeader_ShowsTheClient(t *testing.T) {
	r := start(t, "proxy-header", "-trust", "127.0.0.1/32")
	for header, want := range map[string]string{
		"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n":             "203.0.113.7:4711",
		"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n":           "[2001:db8::7]:4711",
		headerV2(0x21, 0x11, tcp4):                                  "203.0.113.7:4711",
		headerV2(0x21, 0x21, tcp6):                                  "[2001:db8::7]:4711",
		headerV2(0x21, 0x11, tcp4+"\x04\x00\x03pad"):                "203.0.113.7:4711", // with a TLV
		headerV2(0x21, 0x11, tcp4+strings.Repeat("\x04", 508)):      "203.0.113.7:4711", // the longest
		"PROXY TCP6 ::ffff:203.0.113.7 ::ffff:1.2.3.4 4711 443\r\n": "203.0.113.7:4711",
	} {
		got, _ := askAddress(t, r, header+request)
		assert.Equal(t, want, got, "%q", header)
		got, _ = askAddress(t, r, evtest.Bytewise(header+request)...)
		assert.Equal(t, want, got, "%q in single bytes", header)
	}
	assert.Equal(t, "closed\n", r.stop())
}

// If a header has no client address, the service shows the address of the connection.
func TestProxyHeader_ShowsTheProxyIfThereIsNoClient(t *testing.T) {
	r := start(t, "proxy-header", "-trust", "127.0.0.0/8", "-trust", "::1/128")
	for _, header := range []string{
		"PROXY UNKNOWN\r\n",
		"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n",
		headerV2(0x20, 0x00, ""),   // LOCAL
		headerV2(0x20, 0x11, tcp4), // LOCAL: the addresses are to be ignored
		headerV2(0x21, 0x00, ""),   // unspecified
	} {
		got, local := askAddress(t, r, header+request)
		assert.Equal(t, local.String(), got, "%q", header)
	}
	assert.Equal(t, "closed\n", r.stop())
}

func TestProxyHeader_RejectsMalformedHeaders(t *testing.T) {
	r := start(t, "proxy-header", "-trust", "127.0.0.1/32")
	for _, header := range []string{
		request,
		"\x16\x03\x01",
		"PROXY TCP4 203.0.113.7 192.0.2.1 4711\r\n",
		"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443 1\r\n",
		"PROXY TCP4  203.0.113.7 192.0.2.1 4711 443\r\n",
		"PROXY TCP4 203.0.113.7 192.0.2.1 4711 65536\r\n",
		"PROXY TCP4 203.0.113.7 192.0.2.1 +711 443\r\n",
		"PROXY TCP4 203.0.113 192.0.2.1 4711 443\r\n",
		"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\n\r\n",
		"PROXY TCP4 2001:db8::7 2001:db8::1 4711 443\r\n",
		"PROXY TCP6 203.0.113.7 192.0.2.1 4711 443\r\n",
		"PROXY TCP6 fe80::1%eth0 2001:db8::1 4711 443\r\n",
		"PROXY UDP4 203.0.113.7 192.0.2.1 4711 443\r\n",
		"PROXY \r\n",
		"PROXY UNKNOWN " + strings.Repeat("x", 92) + "\r\n", // 108 bytes
		strings.Replace(headerV2(0x21, 0x11, tcp4), "QUIT", "QUIX", 1),
		headerV2(0x11, 0x11, tcp4),      // version 1 in the form of version 2
		headerV2(0x22, 0x11, tcp4),      // an unknown command
		headerV2(0x21, 0x11, tcp4[:11]), // too short
		headerV2(0x21, 0x21, tcp4),      // too short
		headerV2(0x21, 0x12, tcp4),      // UDP
		headerV2(0x21, 0x11, tcp4+strings.Repeat("\x04", 509)),
	} {
		got, _ := askAddress(t, r, header+request)
		assert.Empty(t, got, "%q", header)
		assert.Contains(t, r.line(), "malformed PROXY protocol header", "%q", header)
	}
	assert.Equal(t, "closed\n", r.stop())
}

// A header that ends early is an error of its connection only.
func TestProxyHeader_RejectsHeadersThatEndEarly(t *testing.T) {
	r := start(t, "proxy-header", "-trust", "127.0.0.1/32")
	for _, header := range []string{"P", "PROXY TCP4", proxyV2, headerV2(0x21, 0x11, tcp4)[:20]} {
		c := r.dial()
		send(t, c, header)
		require.NoError(t, evtest.CloseWrite(c))
		receiveEnd(t, c)
		assert.Contains(t, r.line(), "unexpected EOF", "%q", header)
	}
	assert.Equal(t, "closed\n", r.stop())
}

func TestProxyHeader_RejectsOtherProxies(t *testing.T) {
	r := start(t, "proxy-header", "-trust", "10.0.0.0/8")
	got, local := askAddress(t, r, "PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n"+request)
	assert.Empty(t, got)
	assert.Equal(t, local.String()+" not a trusted proxy", r.line())
	assert.Equal(t, "closed\n", r.stop())
}

func TestProxyHeader_WithCurl(t *testing.T) {
	evtest.RequireProgram(t, "curl")
	r := start(t, "proxy-header", "-trust", "127.0.0.1/32")
	printed := client(t, "", "curl", "-s", "--noproxy", "*", "--haproxy-protocol", "http://"+r.address)
	assert.Regexp(t, `^your address is 127\.0\.0\.1:\d+\n$`, printed)
	assert.Equal(t, "closed\n", r.stop())
}

func TestProxyHeader_WithNetcat(t *testing.T) {
	evtest.RequireProgram(t, "nc")
	r := start(t, "proxy-header", "-trust", "127.0.0.1/32")
	host, port, _ := net.SplitHostPort(r.address)
	printed := client(t, "PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n\r\n", "nc", "-N", host, port)
	assert.Contains(t, printed, "your address is 203.0.113.7:4711\n")
	printed = client(t, headerV2(0x21, 0x21, tcp6)+"\r\n", "nc", "-N", host, port)
	assert.Contains(t, printed, "your address is [2001:db8::7]:4711\n")
	assert.Equal(t, "closed\n", r.stop())
}

func TestProxyHeader_WrongFlags(t *testing.T) {
	for args, want := range map[string]string{
		"":                "no -trust: which proxies may connect?\n",
		"-trust 10.0.0.1": "invalid value",
	} {
		code, printed := launch(t, "proxy-header", strings.Fields(args)...).end()
		assert.Equal(t, 2, code)
		assert.Contains(t, printed, want)
	}
}
