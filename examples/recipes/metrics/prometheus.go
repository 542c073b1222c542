package main

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"evnet/watch"
)

// writePrometheus writes the counters in the text format of Prometheus.
func writePrometheus(w io.Writer, now watch.Counts) {
	one := func(name, kind string, value int64) {
		fmt.Fprintf(w, "# TYPE %s %s\n%s %d\n", name, kind, name, value)
	}
	each := func(name, label string, values map[string]int64) {
		fmt.Fprintf(w, "# TYPE %s counter\n", name)
		for _, key := range slices.Sorted(maps.Keys(values)) {
			fmt.Fprintf(w, "%s{%s=%q} %d\n", name, label, key, values[key])
		}
	}
	one("evnet_open_sockets", "gauge", int64(now.Open))
	one("evnet_buffered_bytes", "gauge", now.Buffered)
	one("evnet_read_bytes_total", "counter", now.BytesRead)
	one("evnet_written_bytes_total", "counter", now.BytesWritten)
	each("evnet_events_total", "event", now.Events)
	each("evnet_errors_total", "code", now.Errors)
	each("evnet_drops_total", "reason", now.Drops)
}
