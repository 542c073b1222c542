//go:build !linux

package dgram

import "net"

// newBatchTransport makes none: goroutines serve every conn.
func newBatchTransport(*Socket, net.PacketConn) transport { return nil }
