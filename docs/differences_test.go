package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"evnet/conformance/scenario"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// These maps list the tests that check the package documentation of the differences from Node and of Node's traps.
// This file checks only that the tests exist.

// differences has the tests of each line of "Differences from Node", by its title. Scenarios that name the title
// in their `difference:` line count too.
var differences = map[string]string{
	"Errors without a listener": "TestEvents_ErrorWithoutListener TestOptionsLogger",
	"Unread sockets":            "TestTrapUnreadSocketIsBounded TestTrapUnreadAnswerIsBounded TestChunksReadNothingAhead",
	"The last Data listener":    "TestEventsLastDataListenerPauses",
	"Timeout callbacks":         "TestTrapSetTimeoutRegistersNothing",
	"Connecting again":          "TestTrapConnectingAgainStartsClean TestTrapConnectingAgainKeepsTheTimer TestWriteOfAnOldConnDoesNotCount",
	"The write queue":           "TestWriteMaxWriteBuffer TestBadInputMaxWriteBuffer",
	"Write callbacks":           "TestWriteThenAcrossDestroy TestWriteThenAcrossReset TestWriteThenBeforeCloseThoughMuchIsPosted",
	"The argument of Close":     "TestTrapCloseArgument",
	"Writing too late":          "TestTrapLateWriteHarmsNothing TestBadInputWrite",
	"After Destroy":             "TestTrapNothingAfterDestroy TestDestroy_EmitContinuesWithItsListeners",
	"After Close":               "TestClose_DiscardsWhatArrivesLater TestScan_DeliversAfterEndingInAnySegmentation",
	"Before a method returns":   "TestTrapNoEventBeforeAMethodReturns",
	"The closing phase":         "TestTimeoutOfClosing TestTimeoutOfClosingByThePeersEnd",
	"Closing early":             "TestLinger_PeerThatTLSRefuses TestLinger_PeerThatScanRefusesReadsWhatWasWritten TestLinger_CloseWithUnreadData",
	"All connections":           "TestServerShutdownIsGraceful TestServerShutdownContextEnds TestServerCloseAllConnections TestTrapUnreadSocketIsBounded",
	"Closing a server":          "TestServerCloseWaitsForConnections TestBadInputServer",
	"Listening":                 "TestTrapListenFailsSynchronously TestBadInputListen",
	"Callbacks of a call":       "TestTrapCallbackOfAFailedConnect TestTrapListenFailsSynchronously",
	"Several addresses":         "TestConnectPastABlackHole TestOptionsAttemptDelay TestErrorsCodeOfSeveral",
	"Lookups and contexts":      "TestConnectBadHelpers TestBadInputConnect TestBadInputEndedContextStartsNothing",
	"Zones":                     "TestZone_UnknownInterfaceIsRefused",
	"Keep-alive":                "TestOptionsNoDelay TestOptionsKeepAlive TestOptionsKeepAliveOnWithoutTimes",
	"Messages":                  "TestScanTokens TestScanIsBufioScanner",
	"Encodings":                 "TestDecoderVectors FuzzDecoder",
	"Addresses":                 "TestTrapAddressesStay",
	"Failed writes":             "TestFailedWrite_DeliversWhatWasReceived TestFailedWrite_WaitsForResume TestFailedWrite_TakesTheCauseFromTheReader",
	"Failures of a pipe":        "TestPipeSourceFails TestRelayTornDown TestPipe_FailingWriterIsAnError",
	"Unix paths":                "TestUnixListenReplacesAStaleFile TestUnixListen_KeepsOtherFiles TestUnixCloseRemovesOnlyItsOwnFile TestUnixListenBadPath TestTrapMissingDirectory TestUnixSocketMode",
	"Failed accepts":            "TestServerAcceptBacksOff",
	"Iterating":                 "TestChunksLeaving TestChunksLeavingAtTheEnd",
	"A new socket":              "TestTrapNewSocket",
	"MaxConnections":            "TestServerMaxConnections TestServer_MaxConnectionsPerAddress TestServer_MaxConnectionRate TestServer_DropReasons",
	"Off":                       "TestEventsOffDuringAnEmit TestEventsRemoveAllListenersDuringAnEmit",
	"Resets":                    "TestTrapResetOfUnixSocket TestRelayResetsTLS",
	"What Run leaves":           "TestLoopRefs TestLoopRunLeavesNothing",
	"Lengths":                   "TestTrapLengthsAreBytes TestWriteCounters",
	"Getters":                   "TestTrapGetters",
	"Listeners":                 "TestEventsSocketWorksWithoutListeners TestEventsBlockingMethodsWorkWithoutListeners TestEventsShutdownWorksWithoutListeners",
	"Putting back":              "TestUnshiftAndEnd TestUnshiftDestroyed",
	"Consumers":                 "TestConsumersExclude",
	"Block lists":               "TestBlockListJSON TestBlockListBadInput TestBlockListTranslatedForms",
	"The end of TLS":            "TestTLSTruncated TestTLSResetAndDestroy TestTLSRelayOfATruncatedStream",
	"Handshakes":                "TestTLSBadPeers TestTLSHandshakeTimeout TestTLSHandshakesCount TestTLSCloseDuringHandshakes",
}

// dgramDifferences is the same for package dgram.
var dgramDifferences = map[string]string{
	"Binding":                         "TestBindFails TestSendBindsFirst TestMembershipBinds",
	"Invalid calls":                   "TestMethodsBeforeAndAfter TestNodeCodes",
	"Failed sends without a callback": "TestSendFails",
	"Errors without a listener":       "TestErrorWithoutListener",
	"Callbacks":                       "TestCloseAfterSend TestBlockedAtClose",
	"The send queue":                  "TestMaxSendQueue",
	"Ports":                           "TestBindFails",
	"Multicast groups":                "TestGroupIsShared",
	"Connect":                         "TestConnectDropsQueuedMessagesOfOthers",
	"Disconnect":                      "TestDisconnect",
	"Interfaces":                      "TestMembership",
	"Zones":                           "TestZone_UnknownInterfaceIsRefused TestZone_KnownInterfaceIsUsed",
	"Lookups":                         "TestResolver_IsNotCalledForAnIPAddress",
	"Getters":                         "TestMethodsBeforeAndAfter",
	"The end of Run":                  "TestRefs",
	"Off":                             "TestEvents",
}

// traps has the tests and scenarios for each trap of Node. Some scenarios show that evnet behaves like
// Node.
var traps = []struct{ trap, held string }{
	1: {"an error without a listener ends the process",
		"TestEvents_ErrorWithoutListener server-socket-error-no-listener-on-server"},
	2: {"an accepted socket without a consumer stays open forever",
		"TestTrapUnreadSocketIsBounded unread-server-socket-leaks"},
	3: {"a client that does not read the answer stays connected forever",
		"TestTrapUnreadAnswerIsBounded unread-client-never-closes"},
	4: {"data is discarded after the last Data listener was removed",
		"TestEventsLastDataListenerPauses removed-data-listener-keeps-flowing resume-without-listener-loses-data late-data-listener"},
	5: {"a Data listener does not start a paused socket",
		"TestStateFlowing pause-before-listener"},
	6: {"a timeout closes nothing, and Connect has no timeout",
		"TestTimeoutIdleDestroys TestOptionsDialerTimeout timeout-idle timeout-while-attempting"},
	7: {"each setTimeout adds a callback",
		"TestTrapSetTimeoutRegistersNothing timeout-callbacks-accumulate"},
	8: {"a socket connected again delivers old bytes, and its timer does not work",
		"TestTrapConnectingAgainStartsClean TestTrapConnectingAgainKeepsTheTimer reconnect-after-close"},
	9: {"the queue grows without bound",
		"TestWriteMaxWriteBuffer"},
	10: {"a write that returned true has not arrived",
		"TestWriteCounters write-above-hwm-accepted-at-once"},
	11: {"drain is not emitted after the end or when the socket is destroyed",
		"TestTrapProducerIsWoken TestWriteReadFromSocketCloses drain-blocked drain-not-after-end"},
	12: {"a callback without an error does not prove delivery",
		"TestWriteThenAcrossDestroy destroy-with-blocked-writes"},
	13: {"callbacks that never run, or run after Close",
		"TestWriteThenAcrossReset TestWriteThenBeforeCloseThoughMuchIsPosted connect-refused-with-pending-write destroy-before-connected-with-writes"},
	14: {"the argument of Close is undefined",
		"TestTrapCloseArgument destroy-err-before-connect reset-unconnected reset-from-client"},
	15: {"a write in End is legal, two ticks later it is not",
		"TestTrapLateWriteHarmsNothing write-in-end-listener write-after-peer-end"},
	16: {"a write after the end destroys the socket",
		"TestTrapLateWriteHarmsNothing write-after-end end-data-twice"},
	17: {"removeAllListeners breaks the socket",
		"TestEventsSocketWorksWithoutListeners remove-all-listeners-breaks-socket"},
	18: {"events after Destroy, and inside connect",
		"TestTrapNothingAfterDestroy TestTrapNoEventBeforeAMethodReturns destroy-in-connect-listener connect-unix"},
	19: {"an answer is truncated when the peer has ended its side",
		"TestNodeServerHalfOpen server-half-open write-after-peer-end"},
	20: {"a half-open side that is never ended",
		"TestTimeoutOfClosingByThePeersEnd peer-end-half-open"},
	21: {"End waits for the peer forever",
		"TestTimeoutOfClosing destroysoon"},
	22: {"Destroy discards written data",
		"TestWriteCloseFlushes end-then-destroy"},
	23: {"there is no way to close all connections",
		"TestServerShutdownIsGraceful TestServerShutdownContextEnds TestServerCloseAllConnections server-close-with-connections"},
	24: {"the server emits Close before its sockets do, or twice",
		"TestServerCloseWaitsForConnections server-close-twice server-close-vs-last-socket-close"},
	25: {"closing a server that is not listening",
		"TestBadInputServer server-close-not-running"},
	26: {"Listen with a host is asynchronous",
		"TestTrapListenFailsSynchronously server-listen-hostname server-listen-twice-with-host"},
	27: {"callbacks of a failed Listen",
		"TestTrapListenFailsSynchronously TestTrapCallbackOfAFailedConnect server-eaddrinuse"},
	28: {"localhost is two addresses",
		"TestConnectPastABlackHole autoselect-fallback"},
	29: {"slow attempts are aborted",
		"TestOptionsAttemptDelay TestErrorsCodeOfSeveral autoselect-attempt-timeout autoselect-all-fail"},
	30: {"empty or unusable answers of the resolver",
		"TestBadInputConnect TestConnectBadHelpers connect-lookup-invalid-ip"},
	31: {"a context that has already ended",
		"TestBadInputEndedContextStartsNothing connect-abort-signal"},
	32: {"keep-alive is off",
		"TestOptionsKeepAliveOnWithoutTimes TestOptionsKeepAlive"},
	33: {"a paused socket detects neither end nor reset",
		"TestTrapUnreadSocketIsBounded paused-socket-misses-reset peer-end-paused"},
	34: {"one data event is not one message",
		"TestScanTokens"},
	35: {"halves of characters, lost bytes",
		"TestDecoderVectors encoding-changed-loses-partial"},
	36: {"the remote address is lost",
		"TestTrapAddressesStay"},
	37: {"a pipe forwards no failure",
		"TestPipeSourceFails TestRelayTornDown pipe-source-destroyed pipe-destination-destroyed"},
	38: {"stale Unix socket files, and files of other programs",
		"TestUnixListenReplacesAStaleFile TestUnixCloseRemovesOnlyItsOwnFile TestTrapMissingDirectory TestUnixListenBadPath connect-unix-stale server-unix-in-use"},
	39: {"connections lost at the descriptor limit",
		"TestServerAcceptBacksOff"},
	40: {"iterating destroys",
		"TestChunksLeaving async-iteration-break"},
	41: {"a new socket is open",
		"TestTrapNewSocket state-properties-connect"},
	42: {"connecting again accumulates listeners",
		"TestTrapConnectingAgainStartsClean reconnect-after-close"},
	43: {"a maximum of 0 connections",
		"TestServerMaxConnections server-max-connections"},
}

// testNames returns the names that the tests of the root and of conformance declare.
func testNames(t *testing.T) map[string]bool {
	names := map[string]bool{}
	dirs, err := filepath.Glob("conformance/*")
	require.NoError(t, err)
	for _, dir := range append(dirs, ".", "conformance", "internal/text") {
		declared(t, dir, true, func(_, name string, _ ...*ast.CommentGroup) { names[name] = true })
	}
	return names
}

// documented returns the titles of the list "Differences from Node" in the package comment of a file.
func documented(t *testing.T, name string) map[string]bool {
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.PackageClauseOnly)
	require.NoError(t, err)
	_, list, found := strings.Cut(file.Doc.Text(), "# Differences from Node\n")
	require.True(t, found)
	titles := map[string]bool{}
	for _, line := range strings.Split(list, "\n") {
		if line, item := strings.CutPrefix(strings.TrimLeft(line, " "), "- "); item {
			title, _, colon := strings.Cut(line, ":")
			assert.True(t, colon, "no title: %s", line)
			assert.False(t, titles[title], "twice: %s", title)
			titles[title] = true
		}
	}
	require.NotEmpty(t, titles)
	return titles
}

func TestDifferencesAreHeld(t *testing.T) {
	titles, tests := documented(t, "evnet.go"), testNames(t)
	held := map[string]bool{}
	for _, s := range scenario.ReadScripts(t, "conformance/testdata/scenarios") {
		if s.Differs != "" {
			assert.True(t, titles[s.Differs], "%s: no such title in the documentation: %q", s.Name, s.Differs)
			held[s.Differs] = true
		}
		assert.Equal(t, s.Evnet != nil, s.Differs != "", "%s has a difference without a title, or a title without a difference", s.Name)
	}
	assertHeld(t, differences, titles, tests, held)
}

func TestDifferencesAreHeld_InDgram(t *testing.T) {
	tests := map[string]bool{}
	declared(t, "dgram", true, func(_, name string, _ ...*ast.CommentGroup) { tests[name] = true })
	assertHeld(t, dgramDifferences, documented(t, "dgram/dgram.go"), tests, map[string]bool{})
}

// assertHeld checks that the named tests exist, and that each title has one or is in held.
func assertHeld(t *testing.T, differences map[string]string, titles, tests, held map[string]bool) {
	for title, names := range differences {
		assert.True(t, titles[title], "no such line of the documentation: %q", title)
		for _, name := range strings.Fields(names) {
			assert.True(t, tests[name], "%s: no such test: %s", title, name)
			held[title] = true
		}
	}
	for title := range titles {
		assert.True(t, held[title], "nothing holds %q", title)
	}
}

var testForm = regexp.MustCompile(`^(Test|Fuzz|Example)`)

func TestTrapsAreHeld(t *testing.T) {
	require.Len(t, traps, 1+43)
	tests := testNames(t)
	for number, of := range traps[1:] {
		assert.NotEmpty(t, of.held, "nothing holds trap %d", number+1)
		for _, name := range strings.Fields(of.held) {
			if testForm.MatchString(name) {
				assert.True(t, tests[name], "trap %d, %s: no such test: %s", number+1, of.trap, name)
				continue
			}
			_, err := os.Stat(filepath.Join("conformance", "testdata", "scenarios", name+".txt"))
			assert.NoError(t, err, "trap %d, %s", number+1, of.trap)
		}
	}
}
