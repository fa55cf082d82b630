package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// validFor is how long certificates are good: longer than any test run, short
// enough that a leaked one is soon worthless.
const validFor = 24 * time.Hour

// frontProxy is the name that the API server shows to aggregated APIs.
const frontProxy = "front-proxy-client"

// authority is a certificate authority with a key that is never written down.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// newAuthority makes an authority and writes its certificate to NAME.crt.
func newAuthority(dir, name string) (*authority, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	template := certificateTemplate(name)
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{certificate, key}, writePEM(filepath.Join(dir, name+".crt"), "CERTIFICATE", der)
}

// issue writes NAME.crt and NAME.key, good for a server on the loopback and for
// a client called commonName.
func (a *authority) issue(dir, name, commonName string) error {
	key, err := newKey()
	if err != nil {
		return err
	}
	template := certificateTemplate(commonName)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	template.DNSNames = []string{"localhost", "kubernetes.default.svc"}
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return err
	}
	if err := writePEM(filepath.Join(dir, name+".crt"), "CERTIFICATE", der); err != nil {
		return err
	}
	return writeKey(dir, name, key)
}

// newSigningKey writes NAME.key and NAME.pub for service account tokens.
func newSigningKey(dir, name string) error {
	key, err := newKey()
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	if err := writePEM(filepath.Join(dir, name+".pub"), "PUBLIC KEY", public); err != nil {
		return err
	}
	return writeKey(dir, name, key)
}

func newKey() (*ecdsa.PrivateKey, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

func certificateTemplate(commonName string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: commonName},
		NotBefore:    now.Add(-time.Minute),
		NotAfter:     now.Add(validFor),
	}
}

func writeKey(dir, name string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(filepath.Join(dir, name+".key"), "EC PRIVATE KEY", der)
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

// user is an identity that the API server knows by a fixed token.
type user struct {
	Name   string   `json:"name"`
	Token  string   `json:"token"`
	Groups []string `json:"-"`
}

func newUser(name string, groups ...string) user {
	// 16 bytes: too many to guess, and each run has its own.
	random := make([]byte, 16)
	_, _ = rand.Read(random) // never fails, says its documentation
	return user{Name: name, Token: hex.EncodeToString(random), Groups: groups}
}

// writeTokens writes the file that --token-auth-file reads: token, user, uid and
// quoted groups on each line.
func writeTokens(path string, users []user) error {
	var lines strings.Builder
	for _, u := range users {
		fmt.Fprintf(&lines, "%s,%s,%s,%q\n", u.Token, u.Name, u.Name, strings.Join(u.Groups, ","))
	}
	return os.WriteFile(path, []byte(lines.String()), 0o600)
}

// writeKubeconfig writes a kubeconfig (JSON is YAML too) that logs in as one user.
func writeKubeconfig(path, server, ca string, u user) error {
	type object = map[string]any
	return writeJSON(path, object{
		"apiVersion":      "v1",
		"kind":            "Config",
		"current-context": "bench",
		"clusters": []object{{
			"name":    "bench",
			"cluster": object{"server": server, "certificate-authority": ca},
		}},
		"users":    []object{{"name": u.Name, "user": object{"token": u.Token}}},
		"contexts": []object{{"name": "bench", "context": object{"cluster": "bench", "user": u.Name}}},
	})
}

func writeJSON(path string, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}
