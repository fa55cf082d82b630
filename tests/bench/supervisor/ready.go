package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// pollEvery is how often a starting part is asked. Short beside the seconds that
// the parts take, long beside what a question costs.
const pollEvery = 50 * time.Millisecond

// run starts a part and waits until it answers.
func (c *cluster) run(name string, argv []string, ready func() error) error {
	if err := c.spawn(name, argv); err != nil {
		return err
	}
	return c.await(name, ready)
}

func (c *cluster) spawn(name string, argv []string) error {
	part, err := startChild(c.path("logs"), name, argv)
	if err != nil {
		return err
	}
	c.children = append(c.children, part)
	return nil
}

// await polls until the part is ready. It gives up when the part ends, when the
// bench is told to stop, and when the time is over.
func (c *cluster) await(name string, ready func() error) error {
	part := c.child(name)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := ready()
		if err == nil {
			c.took[name] = time.Since(part.started).Milliseconds()
			return nil
		}
		if time.Since(part.started) > readyWithin {
			return fmt.Errorf("%s was not ready after %v, it last said: %w", name, readyWithin, err)
		}
		select {
		case <-part.ended:
			return part.obituary()
		case <-c.stop:
			return errStopped
		case <-tick.C:
		}
	}
}

func (c *cluster) child(name string) *child {
	for _, part := range c.children {
		if part.name == name {
			return part
		}
	}
	panic("no part is called " + name)
}

// apiClient asks the API server as the administrator.
type apiClient struct {
	server, token string
	http          *http.Client
}

func newAPIClient(server, caFile, token string) (*apiClient, error) {
	ca, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("no certificate in " + caFile)
	}
	return &apiClient{server, token, httpClient(&tls.Config{RootCAs: roots})}, nil
}

// get is nil when the path answers 200.
func (a *apiClient) get(path string) error {
	request, err := http.NewRequest(http.MethodGet, a.server+path, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+a.token)
	return ask(a.http, request)
}

// anyCertificate asks parts on the loopback that made their certificate themselves.
var anyCertificate = httpClient(&tls.Config{InsecureSkipVerify: true})

func getInsecure(url string) error {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	return ask(anyCertificate, request)
}

func httpClient(config *tls.Config) *http.Client {
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: config}}
}

func ask(client *http.Client, request *http.Request) error {
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, logTail))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", request.URL, response.Status, strings.TrimSpace(string(body)))
	}
	return nil
}
