package main

import (
	"errors"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/embed"
)

// newEtcdCommand runs one etcd member whose data lives as long as the test run.
func newEtcdCommand() *cobra.Command {
	var dataDir, clientURL, peerURL string
	command := &cobra.Command{
		Use:          "etcd",
		Short:        "Runs one etcd member that does not wait for the disk",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(*cobra.Command, []string) error {
			return runEtcd(dataDir, clientURL, peerURL)
		},
	}
	command.Flags().StringVar(&dataDir, "data-dir", "", "folder for the member's data")
	command.Flags().StringVar(&clientURL, "listen-client-urls", "", "URL that clients connect to")
	command.Flags().StringVar(&peerURL, "listen-peer-urls", "", "URL that other members would connect to")
	for _, flag := range []string{"data-dir", "listen-client-urls", "listen-peer-urls"} {
		_ = command.MarkFlagRequired(flag)
	}
	return command
}

func runEtcd(dataDir, clientURL, peerURL string) error {
	config, err := etcdConfig(dataDir, clientURL, peerURL)
	if err != nil {
		return err
	}
	member, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	defer member.Close()

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	select {
	case <-stop:
		return nil
	case err := <-member.Err():
		return err
	case <-member.Server.StopNotify():
		return errors.New("etcd stopped by itself")
	}
}

func etcdConfig(dataDir, clientURL, peerURL string) (*embed.Config, error) {
	client, err := url.Parse(clientURL)
	if err != nil {
		return nil, err
	}
	peer, err := url.Parse(peerURL)
	if err != nil {
		return nil, err
	}
	config := embed.NewConfig()
	config.Dir = dataDir
	config.LogLevel = "warn"
	// Set by etcd's command line but not by NewConfig; zero would log each request.
	config.WarningUnaryRequestDuration = embed.DefaultWarningUnaryRequestDuration
	// The data never outlives the test run, so nothing is gained by waiting for
	// the disk, and on a busy one an fsync can take longer than a test's deadline.
	config.UnsafeNoFsync = true
	config.ListenClientUrls = []url.URL{*client}
	config.AdvertiseClientUrls = []url.URL{*client}
	config.ListenPeerUrls = []url.URL{*peer}
	config.AdvertisePeerUrls = []url.URL{*peer}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	return config, nil
}
