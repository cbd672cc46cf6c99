// Package httpclient makes single HTTP/1.1 requests.
//
// It exists because of the helper's size: cmd/holdfast-helper is sent to every
// host and has a budget of 8,000,000 bytes, 3,000,000 gzipped. With net/http,
// which brings HTTP/2, a server, multipart and IDNA, linux/amd64 was 9,040,000
// bytes and 3,649,000 gzipped; with this package it was 1,012,000 and 429,000 less.
// crypto/tls is another 1,650,000 and 650,000: the build tag notls leaves it out
// of the helper that is sent where no task needs https.
//
// What is here is what RFC 9110 (semantics) and RFC 9112 (HTTP/1.1) ask of a
// user agent that sends one request per connection and needs no cookie,
// cache or content coding. It is strict where leniency would hide a broken
// answer: an ambiguous length, an unknown transfer coding or a body that ends
// early is an error.
package httpclient

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/tasks/task"
)

const defaultBody = 1 << 20

// exchange is one request on one connection.
type exchange struct {
	method string
	url    *url.URL
	header map[string]string // canonical names; with the secrets
	body   []byte
	proxy  *proxy // of the last connection; nil: none
	// standIn is what messages say in place of a URL that must not be seen; nil: the URL.
	standIn *string
}

// shown returns the URL as messages may say it.
func (x *exchange) shown() string {
	if x.standIn != nil {
		return *x.standIn
	}
	return x.url.String()
}

// Do makes the request and follows redirects as far as it allows; the answer to
// the last one is returned whatever its status. It ends when ctx does. No error
// shows a header's value or a password in the URL.
//
// Secret headers, Authorization, Cookie and Host go to the origin of the URL
// only (RFC 9110, section 15.4): a redirect elsewhere drops them for good. Over
// a Unix socket all requests go to that socket.
func Do(ctx context.Context, req task.Request) (task.Response, error) {
	a, err := Open(ctx, req, 0)
	if err != nil {
		return task.Response{}, err
	}
	defer a.Close() //nolint:errcheck // the answer is read or lost by now
	if a.Body, err = io.ReadAll(a); err != nil {
		return task.Response{}, fmt.Errorf("cannot fetch %s: %w", a.url, err)
	}
	return a.Response, nil
}

// Open is Do for an answer whose content is read as it arrives. A server that is
// silent for longer than idle, unless that is 0, is given up.
func Open(ctx context.Context, req task.Request, idle time.Duration) (*Answer, error) {
	x := exchange{method: cmp.Or(req.Method, "GET"), body: req.Body}
	text := req.URL
	if !req.Hidden.IsZero() {
		x.standIn, text = &req.URL, req.Hidden.Reveal()
	}
	var err error
	if x.url, err = parse(nil, text); err != nil {
		if x.standIn != nil {
			err = errors.New("the URL is malformed; it is not shown") // what is wrong with it may be telling
		}
		return nil, fmt.Errorf("cannot fetch: %w", err)
	}
	if x.header, err = headers(req); err != nil {
		return nil, fmt.Errorf("cannot fetch %s: %w", x.shown(), err)
	}
	if !token(x.method) || x.method == "CONNECT" {
		return nil, fmt.Errorf("cannot fetch %s: %q is no method to fetch with", x.shown(), x.method)
	}
	for hops := int64(0); ; hops++ {
		a, err := x.once(ctx, req, idle)
		if err != nil {
			return nil, fmt.Errorf("cannot fetch %s: %w", x.shown(), err)
		}
		a.url = x.shown()
		location := a.Header["Location"]
		if len(location) == 0 || hops >= req.Redirects || !slices.Contains([]int{301, 302, 303, 307, 308}, a.Status) {
			return a, nil
		}
		_ = a.Close() // what it says beside the place is for people
		if err := x.redirect(a.Status, location[0], req.Secrets); err != nil {
			return nil, fmt.Errorf("cannot follow the redirect from %s: %w", x.shown(), err)
		}
	}
}

// redirect turns x into the request for another location (RFC 9110, section 15.4).
func (x *exchange) redirect(status int, location string, secrets map[string]task.SecretText) error {
	next, err := parse(x.url, location)
	if err != nil {
		return err
	}
	if status == 303 && x.method != "HEAD" && x.method != "GET" || (status == 301 || status == 302) && x.method == "POST" {
		x.method, x.body = "GET", nil
		maps.DeleteFunc(x.header, func(name, _ string) bool { return strings.HasPrefix(name, "Content-") })
	}
	if next.Scheme != x.url.Scheme || next.Host != x.url.Host {
		for name := range secrets {
			delete(x.header, textproto.CanonicalMIMEHeaderKey(name))
		}
		for _, name := range []string{"Authorization", "Cookie", "Host"} {
			delete(x.header, name)
		}
	}
	x.url = next
	return nil
}

// parse returns an absolute URL, perhaps relative to base, whose host is in lower
// case and without the port that its scheme implies: two of the same origin
// have the same scheme and host.
func parse(base *url.URL, text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err // the outer one repeats the URL with its password
		}
		return nil, fmt.Errorf("the URL is malformed: %w", err)
	}
	if base != nil {
		u = base.ResolveReference(u)
	}
	ports := map[string]string{"http": "80", "https": "443"}
	host, port := strings.ToLower(u.Hostname()), u.Port()
	switch {
	case ports[u.Scheme] == "":
		return nil, fmt.Errorf("the URL has the scheme %q, want http or https", u.Scheme)
	case u.User != nil:
		return nil, errors.New("the URL holds a user or password: send them in a secret header") // RFC 9110, section 4.2.4
	case !hostname(host):
		return nil, fmt.Errorf("the URL has the host %q, want a name in ASCII or an address", host)
	}
	if n, err := strconv.ParseUint(cmp.Or(port, "1"), 10, 16); err != nil || n == 0 {
		return nil, fmt.Errorf("the URL has the port %q, want 1 to 65535", port)
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port != "" && port != ports[u.Scheme] {
		host += ":" + port
	}
	u.Host, u.Fragment, u.RawFragment = host, "", ""
	u.RawQuery = escape(u.RawQuery)
	return u, nil
}

func hostname(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		host = cmp.Or(a.Zone(), "0")
	}
	return host != "" && strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-._") == ""
}

// escape escapes what must not be in a request line; net/url leaves queries as they are.
func escape(query string) string {
	var b strings.Builder
	for _, c := range []byte(query) {
		if c <= ' ' || c >= 0x7f {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// framing are the headers that say how messages follow each other on a connection,
// which is not for a playbook to say.
var framing = []string{"Connection", "Content-Length", "Expect", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// headers returns the headers of req after checking them (RFC 9110, section 5).
func headers(req task.Request) (map[string]string, error) {
	all := map[string]string{}
	add := func(name, value string) error {
		key := textproto.CanonicalMIMEHeaderKey(name)
		_, twice := all[key]
		switch {
		case !token(name):
			return fmt.Errorf("%q is no name of a header", name)
		case !printable(value):
			return fmt.Errorf("the header %s holds a line break or another control character", name)
		case slices.Contains(framing, key):
			return fmt.Errorf("the header %s cannot be set: the connection needs its own", name)
		case key == "Host" && (value == "" || strings.ContainsAny(value, " \t,/@")):
			return fmt.Errorf("the header %s holds no host", name)
		case twice:
			return fmt.Errorf("the header %s is given twice", key)
		}
		all[key] = strings.Trim(value, " \t")
		return nil
	}
	for name, value := range req.Header {
		if err := add(name, value); err != nil {
			return nil, err
		}
	}
	for name, value := range req.Secrets {
		if err := add(name, value.Reveal()); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// once makes one request on a connection of its own. The answer's content is to be
// read and closed.
func (x *exchange) once(ctx context.Context, req task.Request, idle time.Duration) (*Answer, error) {
	conn, err := x.connect(ctx, req)
	if err != nil {
		return nil, err
	}
	a := &Answer{ctx: ctx, conn: conn, sent: make(chan error, 1)}
	a.stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
	// A server may answer and close before it has read everything, so that reading
	// starts at once and an answer counts even when sending did not succeed.
	go func() {
		_, err := conn.Write(x.message())
		a.sent <- err
	}()
	limit := cmp.Or(req.MaxBody, defaultBody)
	var from io.Reader = conn
	if idle > 0 {
		from = patient{conn, idle}
	}
	a.Response, a.content, err = (&reader{r: bufio.NewReader(from), limit: limit}).begin(x.method)
	if err != nil {
		_ = a.Close() // the answer is lost by now
		return nil, a.explain(err)
	}
	return a, nil
}

func (x *exchange) connect(ctx context.Context, req task.Request) (net.Conn, error) {
	conn, err := x.dial(ctx, req)
	if err != nil || x.url.Scheme == "http" {
		return conn, err
	}
	name, _, _ := strings.Cut(x.url.Hostname(), "%") // no certificate names a zone
	safe, err := secure(ctx, conn, strings.TrimSuffix(name, "."), req.Insecure)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return safe, nil
}

// authority returns the host for the Host header: without the zone of an IPv6
// address, which means something on this machine only (RFC 6874, section 4).
func authority(u *url.URL) string {
	if i := strings.Index(u.Host, "%"); i >= 0 {
		return u.Host[:i] + u.Host[strings.LastIndex(u.Host, "]"):]
	}
	return u.Host
}

// message returns the request as it is sent (RFC 9112, sections 3 and 6).
func (x *exchange) message() []byte {
	h := maps.Clone(x.header)
	for name, value := range map[string]string{
		"Host": authority(x.url), "User-Agent": "holdfast", "Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close",
	} {
		if _, ok := h[name]; !ok {
			h[name] = value
		}
	}
	if len(x.body) > 0 || slices.Contains([]string{"POST", "PUT", "PATCH"}, x.method) {
		h["Content-Length"] = strconv.Itoa(len(x.body))
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", x.method, x.target(), h["Host"])
	delete(h, "Host") // it goes first
	if x.proxy != nil && x.proxy.auth != "" && x.url.Scheme == "http" {
		h["Proxy-Authorization"] = x.proxy.auth
	}
	for _, name := range slices.Sorted(maps.Keys(h)) {
		fmt.Fprintf(&b, "%s: %s\r\n", name, h[name])
	}
	b.WriteString("\r\n")
	b.Write(x.body)
	return b.Bytes()
}
