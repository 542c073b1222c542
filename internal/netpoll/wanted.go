package netpoll

import "os"

// Wanted lets kernel sockets be served by readiness, where that is known. The environment has a switch
// for those who want to compare; tests change it while no socket is open.
var Wanted = os.Getenv("EVNET_TRANSPORT") != "goroutine"
