// Package figures has what the load generator tells the runner, and the histogram it is read from.
package figures

// Load is what one run of the load generator has measured, between its marks start and end.
type Load struct {
	Messages int64   `json:"messages"`
	Bytes    int64   `json:"bytes"` // that came back, or that arrived at the other end of a proxy
	Seconds  float64 `json:"seconds"`

	// Lost is how many datagrams have not come back in time.
	Lost int64 `json:"lost,omitempty"`

	// Nanoseconds from the write of a message to the read of its last byte; 0 when none was timed.
	P50  int64 `json:"p50"`
	P99  int64 `json:"p99"`
	P999 int64 `json:"p999"`

	// Processor time in nanoseconds, of the server (0 when its process was not named) and of the
	// load generator itself: near Seconds it is the load that sets the pace, not the server.
	ServerCPU int64 `json:"server_cpu"`
	LoadCPU   int64 `json:"load_cpu"`
}
