// Command keys writes the keys and certificates that a test cluster needs, so that neither openssl nor a
// certificate with a date to run out on has to be at hand.
//
//	keys service-account FILE      a key that signs the tokens of service accounts
//	keys server STEM HOST...       STEM-ca.pem, STEM.pem and STEM-key.pem: an authority and a server's certificate
//	keys client STEM USER          the same with the certificate of a user, who may be a URI (`spiffe://...`)
package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "keys:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "service-account":
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		// SEC1 is the one form of an EC key that every version of the API server reads here.
		der, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			return err
		}
		return write(args[1], "EC PRIVATE KEY", der)
	case len(args) > 2 && args[0] == "server":
		return server(args[1], args[2:])
	case len(args) == 3 && args[0] == "client":
		leaf := template(args[2])
		leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		if identity, err := url.Parse(args[2]); err == nil && identity.Scheme != "" {
			leaf.URIs = []*url.URL{identity}
			// A workload is a server and a client by one certificate.
			leaf.ExtKeyUsage = append(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		}
		return pair(args[1], leaf)
	}
	return fmt.Errorf("usage: keys service-account FILE | keys server STEM HOST... | keys client STEM USER")
}

func server(stem string, hosts []string) error {
	leaf := template(filepath.Base(stem))
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, host := range hosts {
		if address := net.ParseIP(host); address != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, address)
		} else {
			leaf.DNSNames = append(leaf.DNSNames, host)
		}
	}
	return pair(stem, leaf)
}

// pair makes an authority, and has it sign the certificate.
func pair(stem string, leaf *x509.Certificate) error {
	authority := template(filepath.Base(stem) + " test authority")
	authority.IsCA = true
	authority.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	authority, authorityKey, err := sign(authority, authority, nil, stem+"-ca.pem")
	if err != nil {
		return err
	}

	leaf.KeyUsage = x509.KeyUsageDigitalSignature
	_, key, err := sign(leaf, authority, authorityKey, stem+".pem")
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return write(stem+"-key.pem", "PRIVATE KEY", der)
}

func template(name string) *x509.Certificate {
	// An hour back, for a clock that is a little slow elsewhere; ten years on, for a demo that is left running.
	now := time.Now()
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	return &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.AddDate(10, 0, 0),
		BasicConstraintsValid: true,
	}
}

// sign makes a key for the certificate, lets the parent sign it (itself, without a parent's key) and writes it. What it
// returns was parsed back: only that holds the key identifier by which a leaf names its authority.
func sign(wanted, parent *x509.Certificate, parentKey crypto.Signer, file string) (*x509.Certificate, crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if parentKey == nil {
		parentKey = key
	}
	der, err := x509.CreateCertificate(rand.Reader, wanted, parent, key.Public(), parentKey)
	if err != nil {
		return nil, nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	return certificate, key, write(file, "CERTIFICATE", der)
}

func write(file, kind string, der []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
