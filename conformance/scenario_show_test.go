package conformance_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"evnet"
)

// The form of the lines in a trace.

// describe returns the line of a trace for an event.
func describe(emitter any, event string, args []any) string {
	text := event
	for _, arg := range args {
		switch arg := arg.(type) {
		case []byte:
			if emitter.(*evnet.Socket).Encoding() != "" {
				var quoted strings.Builder
				enc := json.NewEncoder(&quoted)
				enc.SetEscapeHTML(false)
				_ = enc.Encode(string(arg))
				text += " " + strings.TrimSpace(quoted.String())
			} else {
				text += fmt.Sprintf(" %d", len(arg))
			}
		case error:
			text += " " + codeOf(arg)
		case evnet.Lookup:
			if arg.Err != nil {
				text += fmt.Sprintf(" %s undefined undefined %s", codeOf(arg.Err), arg.Host)
			} else {
				text += fmt.Sprintf(" null %s %d %s", arg.Address, arg.Family, arg.Host)
			}
		case evnet.Attempt:
			if arg.Network == "unix" {
				text += " PATH undefined undefined"
			} else {
				host, _, _ := net.SplitHostPort(arg.Address)
				text += fmt.Sprintf(" %s PORT %d", host, arg.Family)
			}
		case evnet.Drop:
			if _, ok := arg.Remote.(*net.TCPAddr); ok {
				text += " localAddress,localPort,localFamily,remoteAddress,remotePort,remoteFamily"
			} else {
				text += " undefined"
			}
		case *evnet.Socket: // of tlsClientError
		default:
			text += fmt.Sprint(" ", arg)
		}
	}
	return text
}

// codeOf returns Node's code for an error, or the text of an error that the scenario created.
func codeOf(err error) string {
	if err == nil {
		return "ok"
	}
	if code := evnet.Code(err); code != "" {
		return code
	}
	return err.Error()
}

func patternAt(i int) byte { return byte(i * 31 >> 8) }

func (t *traffic) count(chunk []byte) {
	if t.verify {
		for i, b := range chunk {
			t.wrong = t.wrong || b != patternAt(t.received+i)
		}
	}
	t.received += len(chunk)
	t.text = string(append([]byte(t.text), chunk...)[max(0, len(t.text)+len(chunk)-64):])
}

// errorEnv returns the values of an error that a block may use.
func errorEnv(err error) env {
	e := env{"result": codeOf(err), "code": codeOf(err), "port": "undefined", "name": "Error", "errnoType": "number"}
	if err == nil {
		return e
	}
	e["message"] = err.Error()
	var sys *os.SyscallError
	if errors.As(err, &sys) {
		e["syscall"] = sys.Syscall
		e["message"] = sys.Syscall + " " + codeOf(err)
	}
	if errors.Is(err, context.Canceled) {
		e["name"] = "AbortError"
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Addr != nil {
		switch a := op.Addr.(type) {
		case *net.TCPAddr:
			e["address"], e["port"] = a.IP.String(), "PORT"
		default:
			e["address"] = "PATH"
		}
	}
	var all *evnet.ConnectError
	if errors.As(err, &all) {
		e["name"] = "AggregateError" // Node's
		e["quoted"] = "every attempt"
		var texts []string
		for _, err := range all.Errs {
			texts = append(texts, fmt.Sprint(codeOf(err), " ", errorEnv(err)["address"]))
			if !strings.Contains(all.Error(), err.Error()) {
				e["quoted"] = "not every attempt"
			}
		}
		e["errors"] = strings.Join(texts, ",")
	}
	return e
}

// traffic describes the data that a socket has delivered.
type traffic struct {
	received int
	text     string // the last chunk
	verify   bool
	wrong    bool // a byte differs from the pattern
}

// encoded returns the bytes of a text in an encoding.
func encoded(text []byte, encoding string) []byte {
	if encoding == "hex" {
		p, err := hex.DecodeString(string(text))
		if err != nil {
			panic(err)
		}
		return p
	}
	return text
}
