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

// lineEvery is the interval of progress lines without a terminal.
const lineEvery = 5 * time.Second

// progress shows progress: a bar on a terminal, or a line in each interval otherwise.
type progress struct {
	what string
	size int64
	bar  *progressbar.ProgressBar
	out  io.Writer

	last   time.Time // when the last line was written
	lastAt int64     // the position that it showed
}

// newProgress writes to the standard error. A bar is only for a program with a single transfer.
func newProgress(what string, size int64, bar bool) *progress {
	what = printable.Text(what) // a file name may contain anything
	p := &progress{what: what, size: size, out: os.Stderr, last: time.Now()}
	if bar && size > 0 && term.IsTerminal(int(os.Stderr.Fd())) {
		p.bar = progressbar.NewOptions64(size,
			progressbar.OptionSetWriter(os.Stderr),
			progressbar.OptionSetDescription(what),
			progressbar.OptionShowBytes(true),
			progressbar.OptionFullWidth(),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionSetRenderBlankState(true), // otherwise the first speed shown is far too high
			progressbar.OptionClearOnFinish(),
		)
	}
	return p
}

// at reports that the first n bytes are done.
func (p *progress) at(n int64) {
	if p.bar != nil {
		_ = p.bar.Set64(n)
		return
	}
	if took := time.Since(p.last); took >= lineEvery {
		speed := float64(n-p.lastAt) / took.Seconds()
		fmt.Fprintf(p.out, "%s: %s of %s (%d %%), %s/s\n", p.what, bytes(n), bytes(p.size), 100*n/p.size, bytes(int64(speed)))
		p.last, p.lastAt = time.Now(), n
	}
}

// clear removes the bar, to print a line.
func (p *progress) clear() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}

// bytes formats a number of bytes with a unit.
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
