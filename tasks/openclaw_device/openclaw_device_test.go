package openclawdevice

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/tasks/openclaw/gateway"
	"holdfast/tasks/secret"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, Module) }

func TestSettled(t *testing.T) {
	paired, absent, rotated := &Params{params{State: "paired"}}, &Params{params{State: "absent"}}, &Params{params{State: "rotated"}}
	for name, tt := range map[string]struct {
		p    *Params
		s    state
		want string
	}{
		"no gateway":     {paired, state{}, "no gateway runs"},
		"paired":         {paired, state{Running: true, Outcome: "ok", Known: true}, "the device is paired"},
		"unknown":        {paired, state{Running: true, Outcome: "not paired"}, ""},
		"known for less": {paired, state{Running: true, Outcome: "not paired", Known: true}, ""},
		"to go":          {absent, state{Running: true, Known: true}, ""},
		"gone":           {absent, state{Running: true}, "the device is not known"},
		"old tokens":     {rotated, state{Running: true, tokens: []token{{}}}, ""},
		"no old tokens":  {rotated, state{Running: true}, "no device has a token that is to go"},
	} {
		if got := (&State{tt.s}).settled(tt.p); got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}

// devices is a gateway with lists of devices. Who is in the first is let in.
type devices struct {
	paired, pending []row
	asked           []string
}

func (d *devices) gateway() *tasktest.Gateway {
	return &tasktest.Gateway{Enter: d.enter, Answer: d.answer}
}

func (d *devices) enter(c *tasktest.GatewayCall) *tasktest.GatewayRefusal {
	for _, w := range d.paired {
		if c.Device == w.DeviceID && !slices.ContainsFunc(c.Scopes, func(s string) bool { return !slices.Contains(w.Scopes, s) }) {
			return nil
		}
	}
	if c.Device == "" {
		return nil
	}
	return &tasktest.GatewayRefusal{Code: "NOT_PAIRED", Details: map[string]string{"code": "PAIRING_REQUIRED", "requestId": "r-1"}}
}

func (d *devices) answer(c *tasktest.GatewayCall) (any, []string, *tasktest.GatewayRefusal) {
	var p struct{ RequestID, DeviceID, Role string }
	if err := c.Into(&p); err != nil {
		return nil, nil, &tasktest.GatewayRefusal{Message: err.Error()}
	}
	if c.Method == "device.pair.list" {
		return map[string]any{"paired": d.paired, "pending": d.pending}, nil, nil
	}
	if !slices.Contains(c.Scopes, gateway.Admin) {
		return nil, nil, &tasktest.GatewayRefusal{Message: "missing scope: operator.admin"}
	}
	d.asked = append(d.asked, c.Method+" "+p.RequestID+p.DeviceID+" "+p.Role)
	for i, w := range d.pending {
		if c.Method == "device.pair.approve" && w.RequestID == p.RequestID {
			d.paired, d.pending = append(d.paired, w), slices.Delete(d.pending, i, i+1)
			return map[string]any{}, nil, nil
		}
	}
	for i, w := range d.paired {
		if w.DeviceID != p.DeviceID {
			continue
		}
		switch c.Method {
		case "device.pair.remove":
			d.paired = slices.Delete(d.paired, i, i+1)
		case "device.token.rotate":
			d.paired[i].Tokens[0].RotatedAt = time.Now().Add(time.Hour).UnixMilli()
		case "device.token.revoke":
			d.paired[i].Tokens[0].RevokedAt = time.Now().UnixMilli()
		}
		return map[string]any{}, nil, nil
	}
	return nil, nil, &tasktest.GatewayRefusal{Message: "no such device"}
}

const key = "abababababababababababababababababababababababababababababababab"

// own is the row of the device with the key.
func own(t *testing.T) row {
	t.Helper()
	id, err := gateway.NewIdentity(secret.New(key))
	if err != nil {
		t.Fatal(err)
	}
	return row{RequestID: "r-1", DeviceID: id.ID, PublicKey: id.Public, Role: "operator", Scopes: []string{"operator.read"}, RemoteIP: "198.51.100.4",
		TS: time.Now().Add(-90 * time.Second).UnixMilli(), Tokens: []token{{Role: "operator", CreatedAt: time.Now().Add(-49 * time.Hour).UnixMilli()}}}
}

func asks(state string) Params {
	return Params{params{State: state, Device: secret.New(key), Token: secret.New("t"), Scopes: []string{"operator.read"}, Port: 18789}}
}

// Only the request with name, key and no other scopes is approved, whatever else waits.
func TestPairs(t *testing.T) {
	mine := own(t)
	with := func(change func(w *row)) row { w := mine; change(&w); return w }
	for name, tt := range map[string]struct {
		pending []row
		unknown int64
		fails   bool
	}{
		"its own":          {pending: []row{mine}},
		"beside a strange": {pending: []row{with(func(w *row) { w.DeviceID, w.RequestID = "x", "r-0" }), mine}, unknown: 1},
		"another key":      {pending: []row{with(func(w *row) { w.PublicKey = "x" })}, unknown: 1, fails: true},
		"another name":     {pending: []row{with(func(w *row) { w.DeviceID = "x" })}, unknown: 1, fails: true},
		"more scopes":      {pending: []row{with(func(w *row) { w.Scopes = []string{"operator.read", "operator.admin"} })}, fails: true},
		"another request":  {pending: []row{with(func(w *row) { w.RequestID = "r-2" })}, fails: true},
		"another role":     {pending: []row{with(func(w *row) { w.Role = "node" })}, fails: true},
		"none":             {fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			d := &devices{pending: tt.pending}
			s, err := run(t.Context(), d.gateway().Host(), asks("paired"))
			if tt.fails != (err != nil) || tt.fails && (len(d.asked) > 0 || !strings.Contains(err.Error(), "no request that waits has its name, its key and no other scopes")) {
				t.Fatalf("got %+v, %v after %q", s, err, d.asked)
			}
			if !tt.fails && !slices.Equal(d.asked, []string{"device.pair.approve r-1 "}) || s.Unknown != tt.unknown {
				t.Errorf("asked %q, unknown %d", d.asked, s.Unknown)
			}
			if last := len(s.Requests) - 1; last >= 0 && (s.Requests[last].Age < 90 || s.Requests[last].Address != "198.51.100.4") {
				t.Errorf("got %+v", s.Requests[last])
			}
			if why, err := skip(t.Context(), d.gateway().Host(), asks("paired")); !tt.fails && (why == "" || err != nil) {
				t.Errorf("paired, it would be done again: %q, %v", why, err)
			}
		})
	}
}

// A device whose key is not here is known by the public half, and its request says what
// it wants to do.
func TestPairsByPublicKey(t *testing.T) {
	mine := own(t)
	with := func(change func(w *row)) row { w := mine; change(&w); return w }
	for name, tt := range map[string]struct {
		paired, pending []row
		fault           string
		asked           string
	}{
		"its own":      {pending: []row{with(func(w *row) { w.DeviceID, w.RequestID = "x", "r-0" }), mine}, asked: "[device.pair.approve r-1 ]"},
		"no request":   {fault: "no request of it waits"},
		"of another":   {pending: []row{with(func(w *row) { w.PublicKey = "x" })}, fault: "no request of it waits"},
		"more scopes":  {pending: []row{with(func(w *row) { w.Scopes = []string{"operator.read", "operator.admin", "a\x1bb"} })}, fault: "it asks for operator.admin, "},
		"a near scope": {pending: []row{with(func(w *row) { w.Scopes = []string{"operator.read\x1b"} })}, fault: "it asks for operator.read"},
		"as a node":    {pending: []row{with(func(w *row) { w.Role = "node" })}, fault: "no request of it waits"},
		"paired":       {paired: []row{mine}, asked: "[]"},
		"for more":     {paired: []row{mine}, pending: []row{mine}, asked: "[device.pair.approve r-1 ]"},
		"for too much": {paired: []row{mine}, pending: []row{with(func(w *row) { w.Scopes = []string{"operator.admin"} })}, fault: "it asks for operator.admin too"},
		"a false name": {paired: []row{with(func(w *row) { w.PublicKey = "x" })}, fault: "no request of it waits"},
	} {
		t.Run(name, func(t *testing.T) {
			d := &devices{paired: tt.paired, pending: tt.pending}
			p := Params{params{State: "paired", PublicKey: mine.PublicKey, Token: secret.New("t"), Scopes: []string{"operator.read"}, Port: 18789}}
			s, err := run(t.Context(), d.gateway().Host(), p)
			if tt.fault != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fault) || strings.Contains(err.Error(), "\x1b") || len(d.asked) > 0 {
					t.Errorf("got %v after %q, want %q", err, d.asked, tt.fault)
				}
				return
			}
			if got := fmt.Sprint(d.asked); err != nil || got != tt.asked || s.DeviceID != mine.DeviceID {
				t.Fatalf("asked %s, %v, %+v, want %s", got, err, s, tt.asked)
			}
			if why, err := skip(t.Context(), d.gateway().Host(), p); why == "" || err != nil {
				t.Errorf("paired, it would be done again: %q, %v", why, err)
			}
		})
	}
}

func TestTakesAway(t *testing.T) {
	mine, other := own(t), row{DeviceID: strings.Repeat("1", 64), Tokens: []token{{Role: "operator", CreatedAt: time.Now().Add(-time.Minute).UnixMilli()}}}
	for name, tt := range map[string]struct {
		p    Params
		want string
	}{
		"absent":        {asks("absent"), "[device.pair.remove " + mine.DeviceID + " ]"},
		"absent by id":  {Params{params{State: "absent", ID: other.DeviceID, Token: secret.New("t"), Port: 18789}}, "[device.pair.remove " + other.DeviceID + " ]"},
		"revoked":       {asks("revoked"), "[device.token.revoke " + mine.DeviceID + " operator]"},
		"rotated":       {asks("rotated"), "[device.token.rotate " + mine.DeviceID + " operator]"},
		"all rotated":   {Params{params{State: "rotated", Token: secret.New("t"), Port: 18789}}, "[device.token.rotate " + mine.DeviceID + " operator device.token.rotate " + other.DeviceID + " operator]"},
		"only listed":   {Params{params{State: "listed", Token: secret.New("t"), Port: 18789}}, "[]"},
		"not known, id": {Params{params{State: "absent", ID: strings.Repeat("2", 64), Token: secret.New("t"), Port: 18789}}, "[]"},
	} {
		t.Run(name, func(t *testing.T) {
			d := &devices{paired: clone(t, []row{mine, other})}
			s, err := run(t.Context(), d.gateway().Host(), tt.p)
			if got := fmt.Sprint(d.asked); err != nil || got != tt.want {
				t.Fatalf("asked %s, %v, want %s", got, err, tt.want)
			}
			if len(s.Devices) != 2 || s.Devices[0].TokenDays != 2 || s.Devices[0].Tokens != 1 {
				t.Errorf("got %+v", s.Devices)
			}
		})
	}
}

func clone(t *testing.T, rows []row) (out []row) {
	t.Helper()
	text, err := json.Marshal(rows)
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// What is younger than the file stays, so that a run that was cut off can be done again.
func TestRotatesSince(t *testing.T) {
	d := &devices{paired: []row{own(t)}}
	p := asks("rotated")
	since := task.Path("/etc/token")
	p.Since = &since
	h := d.gateway().Host()
	if _, err := run(t.Context(), h, p); err == nil || !strings.Contains(err.Error(), "there is no such file") {
		t.Errorf("without the file: got %v", err)
	}
	h.AddFile("/etc/token", "x", 0o600)
	if _, err := skip(t.Context(), h, p); err == nil || !strings.Contains(err.Error(), "not known yet") {
		t.Errorf("a file that a plan predicts: got %v", err)
	}
}

func TestFaults(t *testing.T) {
	const keys = `device: "${secret('d')}", token: "${secret('t')}"`
	for args, want := range map[string]string{
		"{" + keys + "}":                                                     "scopes",
		"{" + keys + ", scopes: [all]}":                                      `"all" is no scope`,
		"{" + keys + ", scopes: [operator.read], state: on}":                 "state",
		"{device: abc, scopes: [operator.read]}":                             "want ${secret(",
		`{token: "${secret('t')}", state: absent}`:                           "give its key, or its name as id",
		`{token: "${secret('t')}", state: revoked, id: abc}`:                 "no name of a device",
		`{token: "${secret('t')}", scopes: [operator.read]}`:                 "paired by its key alone",
		"{" + keys + ", scopes: [operator.read], since: /etc/motd}":          "only tokens that are rotated",
		"{" + keys + ", id: " + strings.Repeat("1", 64) + ", scopes: [a.b]}": "paired by its key alone",
		`{token: "${secret('t')}", state: listed, scopes: []}`:               "scopes",
		`{token: "${secret('t')}", public_key: abc, scopes: [a.b]}`:          "no public key of a device",
		"{" + keys + ", public_key: abc, scopes: [a.b]}":                     "whose own key is not here",
		`{token: "${secret('t')}", public_key: abc, state: absent}`:          "whose own key is not here",
	} {
		if got := tasktest.Fault(Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
