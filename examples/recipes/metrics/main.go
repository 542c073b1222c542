// Metrics is a line server with logs and figures. It logs each connection when it ends, and with -log debug every
// event. An HTTP server shows the counters, as JSON for expvar and as text for Prometheus:
//
//	go run ./examples/recipes/metrics
//	echo hello | nc -N 127.0.0.1 9110
//	curl http://127.0.0.1:9120/metrics
//	curl http://127.0.0.1:9120/debug/vars
package main

import (
	"context"
	"errors"
	"expvar"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"evnet"
	"evnet/examples/printable"
	"evnet/watch"
)

func main() {
	log.SetFlags(0)                             // errors are printed without the date
	log.SetOutput(printable.Records(os.Stderr)) // an error may quote a peer
	address := flag.String("addr", "127.0.0.1:9110", "`address` to listen on; port 0 takes a free one")
	web := flag.String("http", "127.0.0.1:9120", "`address` of the HTTP server; port 0 takes a free one")
	var level slog.Level
	flag.TextVar(&level, "log", slog.LevelInfo, "lowest `level` to log: debug, info, warn or error")
	flag.Parse()
	if flag.NArg() > 0 {
		log.Println("unexpected argument:", flag.Arg(0))
		os.Exit(2)
	}
	// The handler quotes what a terminal would obey, such as the bytes of a peer in an error.
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))

	// A loop has one Tracer. Join makes it of several.
	counters := &watch.Counters{}
	evnet.DefaultLoop.SetTracer(watch.Join(counters.Trace, watch.Slog(logger, slog.LevelDebug)))

	server := evnet.NewServer(&evnet.ServerOptions{
		MaxConnections: 1000,
		IdleTimeout:    time.Minute,
		WriteTimeout:   30 * time.Second,
		CloseTimeout:   10 * time.Second,
		Logger:         logger,
	})
	server.On.Connection(func(c *evnet.Socket) {
		logEnd(logger, c)
		serve(c)
	})

	endpoint, err := net.Listen("tcp", *web)
	if err != nil {
		log.Fatalln(err)
	}
	if err := server.Listen("tcp", *address, nil); err != nil {
		log.Fatalln(err)
	}
	printable.Println("listening on", server.Address())
	printable.Printf("metrics at http://%s/metrics\n", endpoint.Addr())
	stopMetrics := serveMetrics(endpoint, counters)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := evnet.DefaultLoop.Serve(ctx); !errors.Is(err, context.Canceled) {
		log.Fatalln(err)
	}
	stopMetrics()
	fmt.Println("closed")
}

// serve answers each line with its length.
func serve(c *evnet.Socket) {
	_ = c.Scan(nil, 4096, func(line []byte) {
		if _, err := fmt.Fprintf(c, "%d\n", len(line)); err != nil {
			c.Destroy(err) // the client does not read its answers
		}
	})
}

// logEnd writes one record for a connection, when it is closed.
func logEnd(logger *slog.Logger, c *evnet.Socket) {
	began := time.Now()
	c.On.Error(func(error) {}) // the record has the error
	c.On.Close(func(bool) {
		level := slog.LevelInfo
		attrs := []any{
			"remote", c.RemoteAddr(), "read", c.BytesRead(), "written", c.BytesWritten(), "duration", time.Since(began),
		}
		if err := c.Err(); err != nil {
			level = slog.LevelWarn
			attrs = append(attrs, "code", evnet.Code(err), "err", err)
		}
		logger.Log(context.Background(), level, "connection closed", attrs...)
	})
}

// serveMetrics serves HTTP on goroutines of its own: the loop does not run it, and a busy loop does not delay it.
func serveMetrics(ln net.Listener, counters *watch.Counters) (stop func()) {
	expvar.Publish("evnet", counters)
	mux := http.NewServeMux()
	mux.Handle("GET /debug/vars", expvar.Handler())
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		writePrometheus(w, counters.Counts())
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			log.Println(err) // the line server continues without metrics
		}
	}()
	return func() {
		_ = server.Close()
		<-done
	}
}
