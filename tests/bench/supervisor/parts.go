package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// controllers are those that scaling touches, and those that keep a cluster
// without kubelets tidy.
var controllers = []string{
	"clusterrole-aggregation-controller",
	"deployment-controller",
	"endpointslice-controller",
	"garbage-collector-controller",
	"horizontal-pod-autoscaler-controller",
	"job-controller",
	"namespace-controller",
	"node-lifecycle-controller", // takes the not-ready taint off new nodes
	"pod-garbage-collector-controller",
	"replicaset-controller",
	"serviceaccount-controller",
}

// program is how a part is called: from KUBEBUILDER_ASSETS when that has it,
// otherwise as a subcommand of our own control plane.
func (c *cluster) program(part string) []string {
	if c.fromAssets(part) {
		return []string{filepath.Join(c.assets, part)}
	}
	return []string{filepath.Join(c.bin, "control-plane"), part}
}

func (c *cluster) fromAssets(part string) bool {
	if c.assets == "" || !slices.Contains([]string{"etcd", "kube-apiserver", "kubectl"}, part) {
		return false
	}
	_, err := os.Stat(filepath.Join(c.assets, part))
	return err == nil
}

// prepare makes ports, keys, identities and folders.
func (c *cluster) prepare() error {
	if err := os.Mkdir(c.path("logs"), 0o700); err != nil {
		return err
	}
	if err := c.prepareCertificates(); err != nil {
		return err
	}
	port, err := c.ports.next()
	if err != nil {
		return err
	}
	c.server = "https://" + loopback(port)
	return c.prepareIdentities()
}

func (c *cluster) prepareCertificates() error {
	ca, err := newAuthority(c.dir, "ca")
	if err != nil {
		return err
	}
	// An authority of its own: aggregated APIs take its word on who the user is.
	frontProxyCA, err := newAuthority(c.dir, "front-proxy-ca")
	if err != nil {
		return err
	}
	if err := ca.issue(c.dir, "kube-apiserver", "kube-apiserver"); err != nil {
		return err
	}
	if err := frontProxyCA.issue(c.dir, frontProxy, frontProxy); err != nil {
		return err
	}
	return newSigningKey(c.dir, "service-accounts")
}

// prepareIdentities writes the tokens, a kubeconfig for each part and for the
// administrator, and users.json with the identities that tests give rights to.
func (c *cluster) prepareIdentities() error {
	admin := newUser("admin", "system:masters")
	parts := map[string]user{
		"admin":                   admin,
		"kwok":                    newUser("kwok", "system:masters"),
		"kube-controller-manager": newUser("system:kube-controller-manager"),
		"kube-scheduler":          newUser("system:kube-scheduler"),
	}
	all := make([]user, 0, len(parts)+testUsers)
	for part, identity := range parts {
		all = append(all, identity)
		if err := writeKubeconfig(c.path(part+".kubeconfig"), c.server, c.path("ca.crt"), identity); err != nil {
			return err
		}
	}
	var tests []user
	for i := range testUsers {
		tests = append(tests, newUser(fmt.Sprintf("bench-user-%03d", i)))
	}
	if err := writeTokens(c.path("tokens.csv"), append(all, tests...)); err != nil {
		return err
	}
	client, err := newAPIClient(c.server, c.path("ca.crt"), admin.Token)
	if err != nil {
		return err
	}
	c.client = client
	return writeJSON(c.path("users.json"), tests)
}

func (c *cluster) startEtcd() error {
	client, err := c.ports.next()
	if err != nil {
		return err
	}
	peer, err := c.ports.next()
	if err != nil {
		return err
	}
	c.etcd = "http://" + loopback(client)
	args := []string{
		"--data-dir=" + c.path("etcd"),
		"--listen-client-urls=" + c.etcd,
		"--listen-peer-urls=http://" + loopback(peer),
	}
	if c.fromAssets("etcd") {
		// Our own etcd does these two unasked.
		args = append(args, "--advertise-client-urls="+c.etcd, "--unsafe-no-fsync")
	}
	return c.run("etcd", append(c.program("etcd"), args...), func() error {
		return getInsecure(c.etcd + "/health")
	})
}

func (c *cluster) startAPIServer() error {
	_, port, _ := strings.Cut(strings.TrimPrefix(c.server, "https://"), ":")
	args := []string{
		"--etcd-servers=" + c.etcd,
		"--bind-address=127.0.0.1",
		"--secure-port=" + port,
		// The loopback is no valid endpoint address, and no pod asks for one.
		"--advertise-address=127.0.0.1",
		"--endpoint-reconciler-type=none",
		"--service-cluster-ip-range=10.96.0.0/16",
		"--cert-dir=" + c.dir,
		"--tls-cert-file=" + c.path("kube-apiserver.crt"),
		"--tls-private-key-file=" + c.path("kube-apiserver.key"),
		"--token-auth-file=" + c.path("tokens.csv"),
		"--client-ca-file=" + c.path("ca.crt"),
		"--authorization-mode=RBAC",
		// A namespace can keep its pods to its own nodes, by an annotation.
		"--enable-admission-plugins=PodNodeSelector",
		"--service-account-key-file=" + c.path("service-accounts.pub"),
		"--service-account-signing-key-file=" + c.path("service-accounts.key"),
		"--service-account-issuer=https://kubernetes.default.svc",
		// Without these no aggregated API can authenticate its callers.
		"--requestheader-client-ca-file=" + c.path("front-proxy-ca.crt"),
		"--requestheader-allowed-names=" + frontProxy,
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + c.path(frontProxy+".crt"),
		"--proxy-client-key-file=" + c.path(frontProxy+".key"),
		"--profiling=false",
	}
	return c.run("kube-apiserver", append(c.program("kube-apiserver"), args...), func() error {
		return c.client.get("/readyz")
	})
}

// startControllers starts what only talks to the API server, all at once.
func (c *cluster) startControllers() error {
	schedulerPort, err := c.ports.next()
	if err != nil {
		return err
	}
	kwokPort, err := c.ports.next()
	if err != nil {
		return err
	}
	parts := []struct {
		name  string
		argv  []string
		ready func() error
	}{
		{"kube-scheduler", c.schedulerCommand(schedulerPort), func() error {
			return getInsecure("https://" + loopback(schedulerPort) + "/readyz")
		}},
		{"kwok", c.kwokCommand(kwokPort), func() error {
			return getInsecure("http://" + loopback(kwokPort) + "/healthz")
		}},
		{"kube-controller-manager", c.controllerManagerCommand(), func() error {
			return c.client.get("/api/v1/namespaces/default/serviceaccounts/default")
		}},
	}
	for _, part := range parts {
		if err := c.spawn(part.name, part.argv); err != nil {
			return err
		}
	}
	for _, part := range parts {
		if err := c.await(part.name, part.ready); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) schedulerCommand(port int) []string {
	return append(c.program("kube-scheduler"),
		"--kubeconfig="+c.path("kube-scheduler.kubeconfig"),
		"--leader-elect=false",
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", port),
		"--authentication-skip-lookup=true",
	)
}

func (c *cluster) controllerManagerCommand() []string {
	return append(c.program("kube-controller-manager"),
		"--kubeconfig="+c.path("kube-controller-manager.kubeconfig"),
		"--leader-elect=false",
		"--secure-port=0",
		"--controllers="+strings.Join(controllers, ","),
		// Each controller under its own service account, as in a real cluster, so
		// that admission sees who scales.
		"--use-service-account-credentials=true",
		// A test waits for the HPA's answer, so it looks every second, forgets soon
		// and trusts young pods.
		"--horizontal-pod-autoscaler-sync-period=1s",
		"--horizontal-pod-autoscaler-downscale-stabilization=5s",
		"--horizontal-pod-autoscaler-cpu-initialization-period=1s",
		"--horizontal-pod-autoscaler-initial-readiness-delay=1s",
	)
}

func (c *cluster) kwokCommand(port int) []string {
	return []string{
		filepath.Join(c.bin, "kwok"),
		"--kubeconfig=" + c.path("kwok.kubeconfig"),
		"--config=" + c.stages,
		"--manage-all-nodes=true",
		"--server-address=" + loopback(port),
		// No server answers there; a value keeps kwok from choosing the machine's.
		"--node-ip=127.0.0.1",
	}
}
