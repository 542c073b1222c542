package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"evnet/examples/printable"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// every is how often a line tells of the progress where there is no terminal.
const every = 5 * time.Second

// progress tells how far something is: by a bar on a terminal, else by a line now and then. A nil one tells
// nothing.
type progress struct {
	what string
	size int64
	bar  *progressbar.ProgressBar
	out  io.Writer

	last   time.Time // when the last line was written,
	lastAt int64     // and what it told
}

// newProgress tells on the standard error. Bars are for who does one thing at a time.
func newProgress(what string, size int64, bar bool) *progress {
	what = printable.Text(what) // a file name may hold anything
	p := &progress{what: what, size: size, out: os.Stderr, last: time.Now()}
	if bar && size > 0 && term.IsTerminal(int(os.Stderr.Fd())) {
		p.bar = progressbar.NewOptions64(size,
			progressbar.OptionSetWriter(os.Stderr),
			progressbar.OptionSetDescription(what),
			progressbar.OptionShowBytes(true),
			progressbar.OptionFullWidth(),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionSetRenderBlankState(true), // or the first speed it tells is far too high
			progressbar.OptionClearOnFinish(),
		)
	}
	return p
}

// at tells that the first n bytes are done.
func (p *progress) at(n int64) {
	if p.bar != nil {
		_ = p.bar.Set64(n)
		return
	}
	if took := time.Since(p.last); took >= every {
		speed := float64(n-p.lastAt) / took.Seconds()
		fmt.Fprintf(p.out, "%s: %s of %s (%d %%), %s/s\n", p.what, bytes(n), bytes(p.size), 100*n/p.size, bytes(int64(speed)))
		p.last, p.lastAt = time.Now(), n
	}
}

// clear makes room for a line.
func (p *progress) clear() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}

// bytes is a number of them for people.
func bytes(n int64) string {
	if n < 1000 {
		return fmt.Sprint(n, " B")
	}
	value, unit := float64(n), 0
	for value >= 1000 && unit < 4 {
		value /= 1000
		unit++
	}
	return fmt.Sprintf("%.1f %cB", value, " kMGT"[unit])
}
