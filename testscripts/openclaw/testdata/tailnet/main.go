// Tailnet is what a tailnet needs beside its hosts, for tests: the coordination server
// that Tailscale's own tests use, a relay, and the vendor's signed repository with one
// package in it. It is a module of its own, so that the program does not depend on it.
//
//	tailnet ADDRESS PACKAGE
//
// The key that hosts join with comes on standard input. What it listens on, and the
// fingerprint of its signature, are printed as JSON once it is ready.
package main

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/openpgp"
	"golang.org/x/crypto/openpgp/clearsign"
	"golang.org/x/crypto/openpgp/packet"
	"tailscale.com/derp/derpserver"
	"tailscale.com/tailcfg"
	"tailscale.com/tstest/integration/testcontrol"
	"tailscale.com/types/key"
	"tailscale.com/types/logger"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("want an address and a package")
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func run(address, deb string) error {
	authKey, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	repository, fingerprint, err := newRepository(deb)
	if err != nil {
		return err
	}
	control := &testcontrol.Server{
		DERPMap:          relay(address),
		RequireAuthKey:   strings.TrimSpace(string(authKey)),
		MagicDNSDomain:   "tail.test",
		TagOwners:        map[string][]string{"tag:gateway": {"nobody@tail.test"}},
		AllNodesSameUser: true,
		SSHPolicy:        &tailcfg.SSHPolicy{}, // hosts may let people log in, if they are told to
		Logf:             logger.Discard,
	}
	mux := http.NewServeMux()
	mux.Handle("/stable/", repository)
	mux.HandleFunc("POST /test/expires", func(w http.ResponseWriter, r *http.Request) { expire(control, w, r) })
	mux.Handle("/", control)
	ln, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		return err
	}
	server := httptest.NewUnstartedServer(mux)
	server.Listener = ln
	control.HTTPTestServer = server
	server.Start()
	if err := json.NewEncoder(os.Stdout).Encode(map[string]string{"url": server.URL, "fingerprint": fingerprint}); err != nil {
		return err
	}
	select {}
}

// relay starts what carries packets of hosts that do not reach each other.
func relay(address string) *tailcfg.DERPMap {
	server := httptest.NewUnstartedServer(derpserver.Handler(derpserver.New(key.NewNode(), logger.Discard)))
	server.Listener.Close()
	ln, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		log.Fatal(err)
	}
	server.Listener = ln
	server.Config.TLSNextProto = make(map[string]func(*http.Server, *tls.Conn, http.Handler))
	server.StartTLS()
	return &tailcfg.DERPMap{Regions: map[int]*tailcfg.DERPRegion{1: {
		RegionID: 1, RegionCode: "test",
		Nodes: []*tailcfg.DERPNode{{
			Name: "t1", RegionID: 1, HostName: address, IPv4: address, IPv6: "none", STUNPort: -1,
			DERPPort: ln.Addr().(*net.TCPAddr).Port, InsecureForTests: true,
		}},
	}}}
}

// expire lets the key of a host end after so many hours, or never.
func expire(control *testcontrol.Server, w http.ResponseWriter, r *http.Request) {
	after, err := time.ParseDuration(r.FormValue("after"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for _, node := range control.AllNodes() {
		if node.ComputedName != r.FormValue("host") && !strings.HasPrefix(node.Name, r.FormValue("host")+".") {
			continue
		}
		changed := node.Clone()
		changed.KeyExpiry = time.Time{}
		if after > 0 {
			changed.KeyExpiry = time.Now().Add(after).UTC().Round(time.Second)
		}
		control.UpdateNode(changed)
		return
	}
	http.Error(w, "there is no such host", http.StatusNotFound)
}

// newRepository is a signed repository for apt, in the layout of the vendor's.
func newRepository(deb string) (http.Handler, string, error) {
	content, err := os.ReadFile(deb)
	if err != nil {
		return nil, "", err
	}
	control, err := os.ReadFile(strings.TrimSuffix(deb, ".deb") + ".control")
	if err != nil {
		return nil, "", err
	}
	config := &packet.Config{DefaultHash: crypto.SHA256, RSABits: 2048}
	signer, err := openpgp.NewEntity("Test repository", "", "repository@tail.test", config)
	if err != nil {
		return nil, "", err
	}
	// Only this signs the names in it.
	if err := signer.SerializePrivate(io.Discard, config); err != nil {
		return nil, "", err
	}
	var public bytes.Buffer
	if err := signer.Serialize(&public); err != nil {
		return nil, "", err
	}
	packages := fmt.Sprintf("%s\nFilename: pool/tailscale.deb\nSize: %d\nSHA256: %x\n\n", strings.TrimSpace(string(control)), len(content), sha256.Sum256(content))
	release := fmt.Sprintf("Origin: Tailscale\nSuite: bookworm\nCodename: bookworm\nArchitectures: amd64\nComponents: main\nDate: %s\nSHA256:\n %x %d main/binary-amd64/Packages\n",
		time.Now().UTC().Format(time.RFC1123), sha256.Sum256([]byte(packages)), len(packages))
	var signed bytes.Buffer
	text, err := clearsign.Encode(&signed, signer.PrivateKey, config)
	if err != nil {
		return nil, "", err
	}
	if _, err := io.WriteString(text, release); err != nil {
		return nil, "", err
	}
	if err := text.Close(); err != nil {
		return nil, "", err
	}
	mux := http.NewServeMux()
	for path, file := range map[string][]byte{
		"/stable/debian/bookworm.noarmor.gpg":                      public.Bytes(),
		"/stable/debian/dists/bookworm/InRelease":                  signed.Bytes(),
		"/stable/debian/dists/bookworm/main/binary-amd64/Packages": []byte(packages),
		"/stable/debian/pool/tailscale.deb":                        content,
	} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(file))
		})
	}
	return mux, fmt.Sprintf("%X", signer.PrimaryKey.Fingerprint), nil
}
