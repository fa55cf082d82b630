// Program sla-bench runs the processes of the test bench so that none of them
// outlives the test that wanted them.
//
//	sla-bench up --bin DIR --dir DIR --stages FILE   a whole cluster
//	sla-bench guard -- CMD ARGS...                    one process
//
// Both end, with everything they started, when their standard input reaches its
// end. The test binary holds the other end of that pipe, so the kernel closes it
// however the binary dies, SIGKILL included. If sla-bench itself is killed, the
// kernel kills its children (PR_SET_PDEATHSIG).
package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

func init() {
	// PR_SET_PDEATHSIG fires when the thread that started the child ends, not the
	// process. All children are started from the main goroutine, which this pins
	// to the main thread, and that one lives as long as the process.
	runtime.LockOSThread()
}

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	switch os.Args[1] {
	case "up":
		os.Exit(runUp(os.Args[2:]))
	case "guard":
		os.Exit(runGuard(os.Args[2:]))
	default:
		usage()
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: sla-bench up --bin DIR --dir DIR --stages FILE | sla-bench guard -- CMD ARGS...")
	os.Exit(2)
}

// stdinClosed returns a channel that is closed when standard input ends.
func stdinClosed() <-chan struct{} {
	closed := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(closed)
	}()
	return closed
}

// stopSignals returns a channel with the signals that ask for an orderly end.
func stopSignals() <-chan os.Signal {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	return signals
}
