package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"
)

// Ports come in blocks. A block belongs to whoever listens on its first port, so
// two benches never get the same one and the kernel frees it when its holder
// dies. The range lies below the ports that the kernel hands out by itself
// (32768 and up), so nothing takes a port between the choice and its use.
// tests/bench/ports.rs takes its own blocks by the same rule.
const (
	firstPort  = 20000
	lastPort   = 29999
	portsEach  = 16
	portBlocks = (lastPort - firstPort + 1) / portsEach
)

// portBlock is a block that this process holds.
type portBlock struct {
	lease net.Listener
	first int
	used  int
}

func leasePorts() (*portBlock, error) {
	for i := range portBlocks {
		first := firstPort + i*portsEach
		lease, err := net.Listen("tcp", loopback(first))
		if err == nil {
			return &portBlock{lease: lease, first: first}, nil
		}
	}
	return nil, fmt.Errorf("no free block of ports between %d and %d", firstPort, lastPort)
}

// next returns an unused port of the block.
func (b *portBlock) next() (int, error) {
	for b.used < portsEach-1 {
		b.used++
		port := b.first + b.used
		probe, err := net.Listen("tcp", loopback(port))
		if err != nil {
			continue
		}
		_ = probe.Close()
		return port, nil
	}
	return 0, errors.New("no port left in the block")
}

func loopback(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}
