package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// exitByStdin is guard's exit code when it killed its child because standard
// input ended: the code that a shell reports for SIGKILL.
const exitByStdin = 128 + int(syscall.SIGKILL)

// runGuard runs one command until it ends or standard input does. The command
// shares stdout and stderr, gets the stop signals, and its exit code is ours.
func runGuard(args []string) int {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		usage()
	}
	command := exec.Command(args[0], args[1:]...)
	command.Stdout = os.Stdout
	command.Stderr = os.Stderr
	command.SysProcAttr = dieWithParent()
	// Caught before the child starts: a signal in between would kill only us.
	signals := stopSignals()
	if err := command.Start(); err != nil {
		fmt.Fprintf(os.Stderr, "sla-bench guard: %v\n", err)
		return 127
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	closed := stdinClosed()
	for {
		select {
		case err := <-ended:
			return exitCode(err)
		case received := <-signals:
			_ = command.Process.Signal(received)
		case <-closed:
			_ = command.Process.Kill()
			<-ended
			return exitByStdin
		}
	}
}

// exitCode turns what Wait said into a shell's exit code.
func exitCode(err error) int {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		if err != nil {
			return 1
		}
		return 0
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return exit.ExitCode()
}
