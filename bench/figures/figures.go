// Package figures has the figures that the load generator reports to the runner, and the histogram from
// which it computes latencies.
package figures

// Load has the figures of one run of the load generator, measured between its marks start and end.
type Load struct {
	Messages int64   `json:"messages"`
	Bytes    int64   `json:"bytes"` // echoed bytes, or bytes that arrived at the other end of a proxy
	Seconds  float64 `json:"seconds"`

	// Lost is the number of datagrams that were not echoed before their timeout.
	Lost int64 `json:"lost,omitempty"`

	// Latencies in nanoseconds, from the write of a message to the read of its last byte. They are 0 if no
	// message was timed.
	P50  int64 `json:"p50"`
	P99  int64 `json:"p99"`
	P999 int64 `json:"p999"`

	// Processor time in nanoseconds. ServerCPU is 0 if the process id of the server is not known. If
	// LoadCPU is close to Seconds, the load generator limits the rate, not the server.
	ServerCPU int64 `json:"server_cpu"`
	LoadCPU   int64 `json:"load_cpu"`
}
