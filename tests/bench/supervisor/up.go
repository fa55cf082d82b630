package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// readyWithin bounds the start of the whole cluster. It takes about 6 s on two
// idle cores; the rest is for a machine that compiles at the same time.
const readyWithin = 120 * time.Second

// testUsers is how many identities tests can bind rights to. Tokens are fixed when
// the API server starts, so the pool has to cover the largest test binary.
const testUsers = 256

// errStopped says that the start was called off by a signal or by stdin.
var errStopped = errors.New("stopped while starting")

type upOptions struct {
	bin, dir, stages, assets string
}

// cluster is the control plane and its node player, and what they were told.
type cluster struct {
	upOptions
	ports    *portBlock
	etcd     string // URL
	server   string // URL of the API server
	client   *apiClient
	children []*child
	took     map[string]int64 // milliseconds, by step
	stop     <-chan struct{}
}

// readyLine is what `up` prints on stdout when the cluster can be used.
type readyLine struct {
	Server     string           `json:"server"`
	CA         string           `json:"ca"`
	Kubeconfig string           `json:"kubeconfig"`
	Users      string           `json:"users"`
	Kubectl    []string         `json:"kubectl"`
	Dir        string           `json:"dir"`
	Logs       string           `json:"logs"`
	Pids       map[string]int   `json:"pids"`
	TookMs     map[string]int64 `json:"took_ms"`
}

func runUp(args []string) int {
	options := upOptions{assets: os.Getenv("KUBEBUILDER_ASSETS")}
	flags := flag.NewFlagSet("up", flag.ExitOnError)
	flags.StringVar(&options.bin, "bin", "", "folder with control-plane and kwok, as tests/bench/build prints it")
	flags.StringVar(&options.dir, "dir", "", "folder for everything that is written; must not exist, removed at the end")
	flags.StringVar(&options.stages, "stages", "", "kwok configuration with the stages of nodes and pods")
	_ = flags.Parse(args)
	if options.bin == "" || options.dir == "" || options.stages == "" || flags.NArg() > 0 {
		flags.Usage()
		return 2
	}
	if err := up(options); err != nil {
		fmt.Fprintf(os.Stderr, "sla-bench up: %v\n", err)
		return 1
	}
	return 0
}

// up runs the cluster until it is told to stop or until a part of it ends.
func up(options upOptions) error {
	stop := stopRequested()
	// Mkdir, not MkdirAll: the folder is removed at the end, so it must be ours.
	if err := os.Mkdir(options.dir, 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(options.dir)
	ports, err := leasePorts()
	if err != nil {
		return err
	}
	c := &cluster{upOptions: options, ports: ports, took: map[string]int64{}, stop: stop}
	defer c.killAll()
	line, err := c.start()
	if errors.Is(err, errStopped) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(line); err != nil {
		return err
	}
	return c.watch()
}

// stopRequested returns a channel that is closed by a stop signal or by the end
// of standard input.
func stopRequested() <-chan struct{} {
	stop := make(chan struct{})
	closed, signals := stdinClosed(), stopSignals()
	go func() {
		select {
		case <-closed:
		case <-signals:
		}
		close(stop)
	}()
	return stop
}

// watch returns when the cluster is to stop, or with an error when a part of it
// ended by itself.
func (c *cluster) watch() error {
	fallen := make(chan *child, len(c.children))
	for _, part := range c.children {
		go func() {
			<-part.ended
			fallen <- part
		}()
	}
	select {
	case <-c.stop:
		return nil
	case part := <-fallen:
		return part.obituary()
	}
}

func (c *cluster) killAll() {
	// Last started, first killed: no part logs that another has gone.
	for i := len(c.children) - 1; i >= 0; i-- {
		c.children[i].kill()
	}
}

// start brings the parts up in the order in which they need each other.
func (c *cluster) start() (*readyLine, error) {
	begin := time.Now()
	for _, step := range []func() error{c.prepare, c.startEtcd, c.startAPIServer, c.startControllers} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	c.took["total"] = time.Since(begin).Milliseconds()
	return c.line(), nil
}

func (c *cluster) line() *readyLine {
	pids := map[string]int{}
	for _, part := range c.children {
		pids[part.name] = part.command.Process.Pid
	}
	return &readyLine{
		Server:     c.server,
		CA:         c.path("ca.crt"),
		Kubeconfig: c.path("admin.kubeconfig"),
		Users:      c.path("users.json"),
		Kubectl:    c.program("kubectl"),
		Dir:        c.dir,
		Logs:       c.path("logs"),
		Pids:       pids,
		TookMs:     c.took,
	}
}

func (c *cluster) path(name string) string {
	return filepath.Join(c.dir, name)
}
