package main

import (
	"bufio"
	"context"
	"os"
	"time"

	"evnet"
)

func (o *options) runClient(ctx context.Context) {
	events := timeline{"client:", time.Now()}
	c := evnet.NewSocket(&evnet.SocketOptions{AllowHalfOpen: o.stay})
	c.On.Connect(func() {
		events.print("connect")
		if o.every > 0 {
			o.sendLines(c)
		}
	})
	_ = c.Scan(bufio.ScanLines, 1000, func(line []byte) { events.print("line:", string(line)) })
	c.On.End(func() { events.print("end") })
	c.On.Error(func(error) {}) // printClosed prints it
	stopWatching := context.AfterFunc(ctx, func() { c.Destroy(nil) })
	c.On.Close(func(bool) {
		stopWatching()
		events.printClosed(c)
	})

	connectCtx := context.Background()
	if o.within > 0 {
		var cancel context.CancelFunc
		connectCtx, cancel = context.WithTimeout(connectCtx, o.within)
		defer cancel()
	}
	c.ConnectContext(connectCtx, "tcp", o.connect)
	evnet.Run()
	if c.Err() != nil {
		os.Exit(1)
	}
}

// sendLines sends a line at each interval until one side has ended.
func (o *options) sendLines(c *evnet.Socket) {
	var timer *evnet.Timer
	timer = c.Loop().AfterFunc(o.every, func() {
		if _, err := c.WriteString(o.say + "\n"); err == nil {
			timer.Reset(o.every)
		}
	})
	c.On.End(func() { timer.Stop() })
	c.On.Close(func(bool) { timer.Stop() })
}
