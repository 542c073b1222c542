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

// limits are what a receiver lets senders spend. 0 is no limit.
type limits struct {
	senders    int           // connections at once
	perAddress int           // of one address: connections at once, and unfinished files
	file       size          // bytes of one file
	total      size          // bytes in the directory
	files      int           // files in the directory, unfinished ones included
	parts      int           // unfinished files
	partAge    time.Duration // since the last write of an unfinished file, which is then removed
	free       size          // bytes that stay free on the disk
	hash       size          // bytes in an hour that are hashed of files whose hash is not known
	slowest    size          // bytes a second of a sender, on average over paceTime
	idle       time.Duration // silence of a sender
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

// later is a reason that passes: the sender tries again.
type later struct{ error }

func tryLater(format string, args ...any) error {
	return later{fmt.Errorf(format+": try again later", args...)}
}

// size is a flag: bytes, with or without a unit.
type size int64

var units = []string{"B", "kB", "MB", "GB", "TB"}

func (s *size) Set(text string) error {
	number := strings.TrimRight(text, "BbKkMmGgTt")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 {
		return errors.New("not a number of bytes, such as 500MB")
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
	return errors.New("the unit is B, kB, MB, GB or TB")
}

func (s *size) String() string {
	n, unit := int64(*s), 0
	for n != 0 && n%1000 == 0 && unit < len(units)-1 {
		n, unit = n/1000, unit+1
	}
	return strconv.FormatInt(n, 10) + units[unit]
}

// addressOf is what counts as one address: an IPv4 address, or the network that one IPv6 site has for itself.
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
