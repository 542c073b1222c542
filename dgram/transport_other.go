//go:build !linux

package dgram

import "net"

// newBatchTransport returns nil: goroutines serve every conn.
func newBatchTransport(*Socket, net.PacketConn) transport { return nil }
