package docs_test

import (
	"go/ast"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Everything exported has a doc comment: types, functions, methods, values and fields.
func TestEverythingPublicIsDocumented(t *testing.T) {
	seen := 0
	for _, dir := range []string{".", "dgram", "watch"} {
		declared(t, dir, false, func(file, name string, docs ...*ast.CommentGroup) {
			if !exported(name) {
				return
			}
			seen++
			for _, d := range docs {
				if d.Text() != "" {
					return
				}
			}
			assert.Fail(t, "undocumented", "%s in %s", name, file)
		})
	}
	assert.Greater(t, seen, 150)
}

// The API that new users need, and each task that the package documentation names, has an example. go vet reports an
// example that is named after an unknown identifier.
const firstHour = `
Example Example_events Example_chat
ExampleCreateServer ExampleNewServer ExampleServer_Listen ExampleServer_Listen_unix ExampleServer_ListenContext
ExampleServer_Serve ExampleServer_Close ExampleServer_Shutdown ExampleServer_Sockets
ExampleServerOptions_loops ExampleServerOptions_firstByteTimeout
ExampleServerOptions_maxConnectionsPerAddress ExampleServerOptions_maxConnectionRate ExampleServerOptions_tls ExampleServerEvents_TLSClientError
ExampleConnect ExampleSocket_Connect_again ExampleSocket_ConnectContext ExampleWrap ExampleSocketOptions_dial
ExampleSocketOptions_context ExampleSocketOptions_halfOpen ExampleSocketOptions_idleTimeout ExampleSocketOptions_maxWriteBuffer
ExampleSocketEvents ExampleSocketEvents_ConnectionAttempt ExampleListener_Off
ExampleSocket_Scan ExampleSocket_Chunks ExampleSocket_OnRead ExampleSocket_SetEncoding ExampleSocket_Pause ExampleSocket_Unshift
ExampleSocket_WriteThen ExampleSocket_Produce ExampleSocket_NeedDrain ExampleSocket_Cork ExampleSocket_End ExampleSocket_Pipe ExampleRelay
ExampleSocket_ReadFrom ExampleSocket_BlockingConn ExampleSocket_Detach ExampleSocket_StartTLSServer
ExampleSocket_SetTimeout ExampleSocket_Reset ExampleSocket_Destroy
ExampleLoop_Run ExampleLoop_Serve ExampleLoop_Post ExampleLoop_Do ExampleLoop_AfterFunc ExampleLoop_OnPanic ExampleLoop_SetMaxBuffered ExampleTimer_Unref
ExampleBlockList ExampleCode`

func TestExamplesForEachTask(t *testing.T) {
	have := map[string]bool{}
	declared(t, ".", true, func(_, name string, _ ...*ast.CommentGroup) { have[name] = true })
	for name := range strings.FieldsSeq(firstHour) {
		assert.True(t, have[name], "%s is missing", name)
	}
}
