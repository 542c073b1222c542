package docs_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// consumerMain uses enough of evnet to link in the network code: an echo over the loop.
const consumerMain = `package main

import (
	"fmt"

	"evnet"
)

func main() {
	server := evnet.CreateServer(func(c *evnet.Socket) {
		c.On.Close(func(bool) { c.Server().Close(nil) })
		c.Pipe(c)
	})
	if err := server.Listen("tcp", "127.0.0.1:0", nil); err != nil {
		panic(err)
	}
	client := evnet.Connect("tcp", server.Address().String(), nil)
	client.WriteString("eco")
	client.On.Data(func(chunk []byte) {
		fmt.Println(string(chunk))
		client.End()
	})
	client.On.Close(func(hadError bool) { fmt.Println("close", hadError) })
	evnet.Run()
}
`

// runConsumer builds and runs the module in dir with only this module available: there is no proxy, and the module
// cache is empty. It fails if the library itself needs a module to be fetched.
func runConsumer(t *testing.T, dir, goWork string) {
	t.Helper()
	writeFile(t, dir, "main.go", consumerMain)
	ctx, cancel := context.WithTimeout(t.Context(), evtest.Patience)
	defer cancel()
	program := filepath.Join(dir, "consumer.exe") // Windows needs the extension
	build := exec.CommandContext(ctx, "go", "build", "-o", program, ".")
	build.Dir = dir
	build.Env = append(os.Environ(), "GOFLAGS=", "GOPROXY=off", "GOTOOLCHAIN=local",
		"GOMODCACHE="+t.TempDir(), "GOWORK="+goWork)
	printed, err := build.CombinedOutput()
	require.NoError(t, err, "%s", printed)
	printed, err = exec.CommandContext(ctx, program).CombinedOutput()
	require.NoError(t, err, "%s", printed)
	assert.Equal(t, "eco\nclose false\n", string(printed))
}

func writeFile(t *testing.T, dir, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
}

// root returns the directory of this module.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	require.NoError(t, err)
	return dir
}

func TestConsumerReplace(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "go.mod", fmt.Sprintf(
		"module consumer\n\ngo 1.25\n\nrequire evnet v0.0.0\n\nreplace evnet => %q\n", root(t)))
	runConsumer(t, dir, "off")
}

func TestConsumerWorkspace(t *testing.T) {
	dir, work := t.TempDir(), t.TempDir()
	writeFile(t, dir, "go.mod", "module consumer\n\ngo 1.25\n")
	writeFile(t, work, "go.work", fmt.Sprintf("go 1.25\n\nuse (\n\t%q\n\t%q\n)\n", dir, root(t)))
	runConsumer(t, dir, filepath.Join(work, "go.work"))
}
