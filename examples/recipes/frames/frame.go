package main

import (
	"encoding/binary"
	"fmt"
	"io"

	"evnet"
)

// A frame is, in this order:
//
//	version  1 byte, always 1
//	type     1 byte
//	length   4 bytes, big-endian: the length of the body
//	body
const (
	version    = 1
	headerSize = 6
	maxBody    = 1 << 16
)

type frameType byte

const (
	typeRequest frameType = 1
	typeAnswer  frameType = 2
	typeError   frameType = 3 // the body says what is wrong; the sender ends the connection
)

var errTooLong = fmt.Errorf("the body is longer than %d bytes", maxBody)

// writeFrame writes a frame in one Write, so that an error cannot leave half a frame in the stream.
func writeFrame(w io.Writer, kind frameType, body []byte) error {
	if len(body) > maxBody {
		return errTooLong
	}
	frame := make([]byte, 0, headerSize+len(body))
	frame = append(frame, version, byte(kind))
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(body)))
	_, err := w.Write(append(frame, body...))
	return err
}

// readFrames calls handle for each frame. The body is valid until handle returns. If a frame is malformed, or handle
// returns an error, readFrames answers with an error frame and ends the connection.
func readFrames(c *evnet.Socket, handle func(kind frameType, body []byte) error) error {
	failed := false
	fail := func(err error) {
		failed = true
		if writeFrame(c, typeError, []byte(err.Error())) != nil {
			c.Destroy(err)
			return
		}
		c.End() // not Destroy, which would discard the error frame
	}
	split := func(data []byte, _ bool) (int, []byte, error) {
		if failed {
			return len(data), nil, nil // discard the rest until the peer ends
		}
		n, err := frameLen(data)
		switch {
		case err != nil:
			fail(err)
			return len(data), nil, nil
		case n == 0 || len(data) < n:
			return 0, nil, nil // more is needed; at the peer's end this is io.ErrUnexpectedEOF
		}
		return n, data[:n], nil
	}
	return c.Scan(split, headerSize+maxBody, func(frame []byte) {
		if err := handle(frameType(frame[1]), frame[headerSize:]); err != nil {
			fail(err)
		}
	})
}

// frameLen returns the length of the frame that data begins with, or 0 if the header is not complete. It checks each
// field as soon as it has arrived, so that an invalid length fails immediately.
func frameLen(data []byte) (int, error) {
	if len(data) > 0 && data[0] != version {
		return 0, fmt.Errorf("version %d is not supported", data[0])
	}
	if len(data) < headerSize {
		return 0, nil
	}
	length := binary.BigEndian.Uint32(data[2:])
	if length > maxBody {
		return 0, errTooLong
	}
	return headerSize + int(length), nil
}
