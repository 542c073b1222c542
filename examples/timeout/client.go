package main

import (
	"bufio"
	"context"
	"os"
	"time"

	"evnet"
)

func (o *options) call(ctx context.Context) {
	line := timeline{"client:", time.Now()}
	c := evnet.NewSocket(&evnet.SocketOptions{AllowHalfOpen: o.stay})
	c.On.Connect(func() {
		line.say("connect")
		if o.every > 0 {
			o.speak(c)
		}
	})
	_ = c.Scan(bufio.ScanLines, 1000, func(text []byte) { line.say("line", string(text)) })
	c.On.End(func() { line.say("end") })
	c.On.Error(func(error) {}) // over tells it
	stopped := context.AfterFunc(ctx, func() { c.Destroy(nil) })
	c.On.Close(func(bool) {
		stopped()
		line.over(c)
	})

	deadline := context.Background()
	if o.within > 0 {
		var cancel context.CancelFunc
		deadline, cancel = context.WithTimeout(deadline, o.within)
		defer cancel()
	}
	c.ConnectContext(deadline, "tcp", o.connect)
	evnet.Run()
	if c.Err() != nil {
		os.Exit(1)
	}
}

// speak says something every so often, until either side has ended.
func (o *options) speak(c *evnet.Socket) {
	var timer *evnet.Timer
	timer = c.Loop().AfterFunc(o.every, func() {
		if _, err := c.WriteString(o.say + "\n"); err == nil {
			timer.Reset(o.every)
		}
	})
	c.On.End(func() { timer.Stop() })
	c.On.Close(func(bool) { timer.Stop() })
}
