package httpclient

import (
	"bufio"
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"

	"holdfast/tasks/task"
)

func cannotSend(err error) error { return fmt.Errorf("cannot send the request: %w", err) }

// proxy is what requests go through.
type proxy struct {
	address string
	auth    string // Proxy-Authorization, or ""
}

// proxyFor returns the proxy for a URL, or nil. task.ProxyFromEnv asks the
// environment, as curl(1) does: http_proxy in small letters only, because a CGI
// program would get HTTP_PROXY from a header.
func proxyFor(setting string, u *url.URL) (*proxy, error) {
	if setting == task.ProxyFromEnv {
		if exempt(u.Hostname(), cmp.Or(os.Getenv("no_proxy"), os.Getenv("NO_PROXY"))) {
			return nil, nil
		}
		setting = os.Getenv("http_proxy")
		if u.Scheme == "https" {
			setting = cmp.Or(os.Getenv("https_proxy"), os.Getenv("HTTPS_PROXY"))
		}
		if setting != "" && !strings.Contains(setting, "://") {
			setting = "http://" + setting
		}
	}
	if setting == "" {
		return nil, nil
	}
	p, err := url.Parse(setting)
	if err != nil || p.Scheme != "http" || p.Hostname() == "" {
		return nil, fmt.Errorf("cannot use the proxy: want http://host:port") // it may hold a password
	}
	out := &proxy{address: net.JoinHostPort(p.Hostname(), cmp.Or(p.Port(), "80"))}
	if p.User != nil {
		password, _ := p.User.Password()
		out.auth = "Basic " + base64.StdEncoding.EncodeToString([]byte(p.User.Username()+":"+password))
	}
	return out, nil
}

// exempt reports whether a host is reached without the proxy: this machine, and what
// the list names.
func exempt(host, list string) bool {
	host = strings.ToLower(host)
	addr, err := netip.ParseAddr(host)
	if host == "localhost" || err == nil && addr.IsLoopback() {
		return true
	}
	for _, entry := range strings.FieldsFunc(strings.ToLower(list), func(r rune) bool { return r == ',' || r == ' ' }) {
		if net, perr := netip.ParsePrefix(entry); perr == nil && err == nil && net.Contains(addr) {
			return true
		}
		entry = strings.TrimPrefix(strings.TrimPrefix(entry, "*"), ".")
		if entry == "" || host == entry || strings.HasSuffix(host, "."+entry) {
			return true
		}
	}
	return false
}

// dial connects to the server, or to what stands before it.
func (x *exchange) dial(ctx context.Context, req task.Request) (net.Conn, error) {
	var d net.Dialer
	if req.Socket != "" {
		return d.DialContext(ctx, "unix", req.Socket)
	}
	port := map[string]string{"http": "80", "https": "443"}[x.url.Scheme]
	address := cmp.Or(req.Address, net.JoinHostPort(x.url.Hostname(), cmp.Or(x.url.Port(), port)))
	var err error
	if x.proxy, err = proxyFor(req.Proxy, x.url); err != nil {
		return nil, err
	}
	if x.proxy == nil {
		return d.DialContext(ctx, "tcp", address)
	}
	conn, err := d.DialContext(ctx, "tcp", x.proxy.address)
	if err == nil && x.url.Scheme == "https" {
		if err = x.proxy.tunnel(ctx, conn, address); err != nil {
			_ = conn.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot use the proxy %s: %w", x.proxy.address, err)
	}
	return conn, nil
}

// tunnel asks the proxy for a connection to the server (RFC 9110, section 9.3.6).
func (p *proxy) tunnel(ctx context.Context, conn net.Conn, address string) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	auth := ""
	if p.auth != "" {
		auth = "Proxy-Authorization: " + p.auth + "\r\n"
	}
	if _, err := fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", address, address, auth); err != nil {
		return err
	}
	// The server speaks only when it is spoken to, so nothing of it can be read here.
	resp, _, err := (&reader{r: bufio.NewReaderSize(conn, 16)}).begin("HEAD")
	if err == nil && (resp.Status < 200 || resp.Status > 299) {
		err = fmt.Errorf("it answers CONNECT with status %d", resp.Status)
	}
	return err
}

// target returns what the request line names: a proxy gets the whole URL.
func (x *exchange) target() string {
	if x.proxy == nil || x.url.Scheme == "https" {
		return x.url.RequestURI()
	}
	return "http://" + authority(x.url) + x.url.RequestURI()
}
