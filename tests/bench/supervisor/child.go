package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// logTail is how much of a part's log is shown when it ends by itself. A Go
// panic with its first stack fits.
const logTail = 4096

// dieWithParent makes the kernel kill the child when this process ends, and puts
// it in a process group of its own so that a Ctrl-C reaches only sla-bench, which
// then decides.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// child is one running part of the cluster.
type child struct {
	name    string
	command *exec.Cmd
	log     string
	started time.Time
	// ended is closed after the process was waited for.
	ended chan struct{}
}

// startChild starts a part with stdout and stderr in its own log file. Call it
// from the main goroutine only (see init).
func startChild(logs, name string, argv []string) (*child, error) {
	log := filepath.Join(logs, name+".log")
	file, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	command := exec.Command(argv[0], argv[1:]...)
	command.Stdout = file
	command.Stderr = file
	command.SysProcAttr = dieWithParent()
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	part := &child{name: name, command: command, log: log, started: time.Now(), ended: make(chan struct{})}
	go func() {
		_ = command.Wait()
		close(part.ended)
	}()
	return part, nil
}

// kill ends the part at once and waits until the process is gone. Nothing that a
// part would save on a slower way out is read again.
func (c *child) kill() {
	_ = c.command.Process.Kill()
	<-c.ended
}

// obituary says how the part ended and what it said last.
func (c *child) obituary() error {
	text, err := os.ReadFile(c.log)
	if err != nil {
		text = []byte(err.Error())
	}
	if len(text) > logTail {
		text = text[len(text)-logTail:]
		if cut := bytes.IndexByte(text, '\n'); cut >= 0 {
			text = text[cut+1:]
		}
	}
	return fmt.Errorf("%s ended by itself (%v); its log closes with:\n%s",
		c.name, c.command.ProcessState, strings.TrimSpace(string(text)))
}
