package main

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// limits are the limits of a receiver. 0 means unlimited.
type limits struct {
	senders    int           // simultaneous connections
	perAddress int           // of one address: simultaneous connections, and unfinished files
	file       size          // bytes of one file
	total      size          // bytes in the directory
	files      int           // files in the directory, unfinished ones included
	parts      int           // unfinished files
	partAge    time.Duration // time since the last write to an unfinished file, which is then removed
	free       size          // bytes that stay free on the disk
	hash       size          // bytes to hash per hour, of files whose hash is not known
	slowest    size          // bytes per second of a sender, averaged over paceTime
	idle       time.Duration // how long a sender may send nothing
}

var defaults = limits{
	senders: 100, perAddress: 10, file: 10e9, total: 100e9, files: 10_000, parts: 100, partAge: 24 * time.Hour,
	free: 1e9, hash: 10e9, slowest: 1000, idle: time.Minute,
}

func (l *limits) check() error {
	if min(l.senders, l.perAddress, l.files, l.parts) < 0 || min(l.partAge, l.idle) < 0 {
		return errors.New("a limit cannot be negative")
	}
	return nil
}

// temporaryError is an error after which the sender retries.
type temporaryError struct{ error }

func tryLater(format string, args ...any) error {
	return temporaryError{fmt.Errorf(format+": try again later", args...)}
}

// size is a flag value: a number of bytes, with or without a unit.
type size int64

var units = []string{"B", "kB", "MB", "GB", "TB"}

func (s *size) Set(text string) error {
	number := strings.TrimRight(text, "BbKkMmGgTt")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 {
		return errors.New("want a number of bytes, such as 500MB")
	}
	if text == number {
		*s = size(n)
		return nil
	}
	for _, unit := range units {
		if strings.EqualFold(unit, text[len(number):]) {
			*s = size(n)
			return nil
		}
		if n > math.MaxInt64/1000 {
			break
		}
		n *= 1000
	}
	return errors.New("the unit must be B, kB, MB, GB or TB")
}

func (s *size) String() string {
	n, unit := int64(*s), 0
	for n != 0 && n%1000 == 0 && unit < len(units)-1 {
		n, unit = n/1000, unit+1
	}
	return strconv.FormatInt(n, 10) + units[unit]
}

// addressOf returns what counts as one address: an IPv4 address, or the /64 network of an IPv6 address.
func addressOf(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits)
	return p
}
