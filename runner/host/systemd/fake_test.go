package systemd_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"

	"holdfast/runner/host/systemd"
)

const (
	managerInterface = "org.freedesktop.systemd1.Manager"
	jobPath          = dbus.ObjectPath("/org/freedesktop/systemd1/job/7")
)

// fakeUnit is a unit of the fake manager.
type fakeUnit struct {
	load, active, sub, file string
	source                  string // of a generated unit
	result                  string // of a service
	status                  int32
	conditions              []condition
	onJob                   func(u *fakeUnit, method string) (result string)
}

type condition struct {
	Name      string
	Trigger   bool
	Negate    bool
	Parameter string
	Result    int32
}

// fakeManager speaks as much of systemd's private protocol as this package uses.
type fakeManager struct {
	t *testing.T

	mu          sync.Mutex
	units       map[string]*fakeUnit
	calls       []string
	away        int  // connections that are cut after the login, as of a manager that is re-executed
	cutOnJob    bool // hang up instead of telling a job's end
	skipped     bool // the start condition of the unit does not hold
	installable bool
	wg          sync.WaitGroup
}

// newFake returns the fake and a client connected to it.
func newFake(t *testing.T, uid uint32, units map[string]*fakeUnit) (*fakeManager, *systemd.Manager) {
	t.Helper()
	f := &fakeManager{t: t, units: units, installable: true}
	m := systemd.Over(uid, func() (net.Conn, error) {
		ours, theirs := net.Pipe()
		f.wg.Add(1)
		go f.serve(ours)
		return theirs, nil
	})
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		f.wg.Wait()
	})
	return f, m
}

func (f *fakeManager) serve(nc net.Conn) {
	defer f.wg.Done()
	defer func() { _ = nc.Close() }() // the client hangs up first, or is cut on purpose
	in := bufio.NewReader(nc)
	if !f.login(in, nc) || f.isAway() {
		return
	}
	for {
		msg, err := dbus.DecodeMessage(in)
		if err != nil {
			return
		}
		if !f.answer(nc, msg) {
			return
		}
	}
}

func (f *fakeManager) isAway() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.away--
	return f.away >= 0
}

func (f *fakeManager) login(in *bufio.Reader, nc net.Conn) bool {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return false
		}
		answer := "ERROR\r\n"
		switch line = strings.Trim(line, "\x00\r\n"); {
		case line == "BEGIN":
			return true
		case line == "AUTH":
			answer = "REJECTED EXTERNAL\r\n"
		case line == "AUTH EXTERNAL":
			answer = "DATA\r\n"
		case strings.HasPrefix(line, "AUTH EXTERNAL"), strings.HasPrefix(line, "DATA"):
			answer = "OK 0123456789abcdef0123456789abcdef\r\n"
		}
		if _, err := nc.Write([]byte(answer)); err != nil {
			return false
		}
	}
}

func (f *fakeManager) send(nc net.Conn, msg *dbus.Message) {
	if len(msg.Body) > 0 {
		msg.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(msg.Body...))
	}
	if err := msg.EncodeTo(nc, binary.LittleEndian); err != nil && !errors.Is(err, net.ErrClosed) {
		f.t.Logf("fake manager: %v", err)
	}
}

func (f *fakeManager) signal(nc net.Conn, path dbus.ObjectPath, iface, member string, body ...any) {
	f.send(nc, &dbus.Message{Type: dbus.TypeSignal, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldPath: dbus.MakeVariant(path), dbus.FieldInterface: dbus.MakeVariant(iface),
		dbus.FieldMember: dbus.MakeVariant(member),
	}, Body: body})
}

// answer replies to one call; false hangs up.
func (f *fakeManager) answer(nc net.Conn, msg *dbus.Message) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	reply := &dbus.Message{Type: dbus.TypeMethodReply, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldReplySerial: dbus.MakeVariant(msg.Serial()),
	}}
	method, _ := msg.Headers[dbus.FieldMember].Value().(string)
	path, _ := msg.Headers[dbus.FieldPath].Value().(dbus.ObjectPath)
	call := method
	for _, a := range msg.Body {
		if s, ok := a.(string); ok {
			call += " " + s
		}
	}
	f.calls = append(f.calls, call)
	body, problem := f.result(method, path, msg.Body)
	if problem != "" {
		reply.Type = dbus.TypeError
		reply.Headers[dbus.FieldErrorName] = dbus.MakeVariant(problem)
		body = []any{"it is so"}
	}
	reply.Body = body
	if !strings.HasSuffix(method, "Unit") || method == "LoadUnit" || method == "ResetFailedUnit" || problem != "" {
		f.send(nc, reply)
		return true
	}
	name, _ := msg.Body[0].(string)
	u := f.units[name]
	result := "done"
	if u.onJob != nil {
		result = u.onJob(u, method)
	}
	f.send(nc, reply)
	if f.cutOnJob {
		f.cutOnJob = false
		return false
	}
	if f.skipped {
		f.signal(nc, unitPath(name), "org.freedesktop.DBus.Properties", "PropertiesChanged", "org.freedesktop.systemd1.Unit",
			map[string]dbus.Variant{
				"ActiveState": dbus.MakeVariant("inactive"), "ConditionResult": dbus.MakeVariant(false),
				"ConditionTimestampMonotonic": dbus.MakeVariant(uint64(5)),
			}, []string{})
	}
	f.signal(nc, "/org/freedesktop/systemd1", managerInterface, "JobRemoved", uint32(6), dbus.ObjectPath("/other/job"), name, "canceled")
	f.signal(nc, "/org/freedesktop/systemd1", managerInterface, "JobRemoved", uint32(7), jobPath, name, result)
	return true
}

func unitPath(name string) dbus.ObjectPath {
	return dbus.ObjectPath("/unit/" + strings.NewReplacer(".", "_2e", "-", "_2d", "@", "_40").Replace(name))
}

func (f *fakeManager) result(method string, path dbus.ObjectPath, args []any) (body []any, problem string) {
	name := ""
	if len(args) > 0 {
		name, _ = args[0].(string)
	}
	switch method {
	case "LoadUnit":
		return []any{unitPath(name)}, ""
	case "GetAll":
		return []any{f.props(f.at(path), name)}, ""
	case "Get":
		if args[1] == "UnitPath" {
			return []any{dbus.MakeVariant([]string{"/nonexistent"})}, ""
		}
		return []any{dbus.MakeVariant(uint32(42))}, ""
	case "GetUnitFileState":
		if u := f.units[name]; u != nil && u.file != "" {
			return []any{u.file}, ""
		}
		return nil, "org.freedesktop.DBus.Error.FileNotFound"
	case "ListUnitsFiltered":
		return []any{f.list(args[0].([]string))}, ""
	case "EnableUnitFiles":
		return []any{f.installable, []struct{ A, B, C string }{}}, ""
	case "DisableUnitFiles", "MaskUnitFiles", "UnmaskUnitFiles":
		return []any{[]struct{ A, B, C string }{}}, ""
	case "Reload", "ResetFailedUnit":
		return nil, ""
	case "StartUnit", "StopUnit", "RestartUnit", "ReloadUnit", "ReloadOrRestartUnit":
		if f.units[name] == nil {
			return nil, "org.freedesktop.systemd1.NoSuchUnit"
		}
		return []any{jobPath}, ""
	}
	return nil, "org.freedesktop.DBus.Error.UnknownMethod"
}

// row is a unit in a list of the manager.
type row struct {
	Name, Description, Load, Active, Sub, Follower string
	Object                                         dbus.ObjectPath
	Job                                            uint32
	JobType                                        string
	JobObject                                      dbus.ObjectPath
}

func (f *fakeManager) list(states []string) []row {
	out := []row{}
	for name, u := range f.units {
		if slices.Contains(states, u.active) {
			out = append(out, row{Name: name, Load: u.load, Active: u.active, Sub: u.sub, Object: unitPath(name), JobObject: "/"})
		}
	}
	return out
}

func (f *fakeManager) at(path dbus.ObjectPath) *fakeUnit {
	for name, u := range f.units {
		if unitPath(name) == path {
			return u
		}
	}
	return &fakeUnit{load: "not-found", active: "inactive", sub: "dead"}
}

func (f *fakeManager) props(u *fakeUnit, iface string) map[string]dbus.Variant {
	if strings.HasSuffix(iface, ".Service") {
		return map[string]dbus.Variant{
			"Result": dbus.MakeVariant(u.result), "Type": dbus.MakeVariant("notify"),
			"ExecMainStatus": dbus.MakeVariant(u.status), "ExecMainPID": dbus.MakeVariant(uint32(99)),
		}
	}
	conditions := u.conditions
	if conditions == nil {
		conditions = []condition{}
	}
	return map[string]dbus.Variant{
		"LoadState": dbus.MakeVariant(u.load), "ActiveState": dbus.MakeVariant(u.active), "SubState": dbus.MakeVariant(u.sub),
		"FragmentPath": dbus.MakeVariant("/etc/systemd/system/x"), "SourcePath": dbus.MakeVariant(u.source),
		"NeedDaemonReload": dbus.MakeVariant(false), "Conditions": dbus.MakeVariant(conditions),
		"DropInPaths": dbus.MakeVariant([]string{}), "UnitFileState": dbus.MakeVariant("stale"),
		"Job": dbus.MakeVariant(struct {
			ID   uint32
			Path dbus.ObjectPath
		}{0, "/"}),
	}
}

// said returns the calls that were made, without looking.
func (f *fakeManager) said() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, c := range f.calls {
		if !strings.HasPrefix(c, "Get") && !strings.HasPrefix(c, "LoadUnit") {
			out = append(out, c)
		}
	}
	return strings.Join(out, ", ")
}

func up(u *fakeUnit, _ string) string {
	u.active, u.sub = "active", "running"
	return "done"
}

func breaks(u *fakeUnit, _ string) string {
	u.active, u.sub, u.result, u.status = "failed", "failed", "exit-code", 3
	return "failed"
}

// recorder is a Runner that answers journalctl and systemctl.
type recorder struct{ argv []string }

func (r *recorder) run(_ context.Context, argv, _ []string, _ func(string)) (status int, out string, err error) {
	r.argv = append(r.argv, strings.Join(argv, " "))
	return 0, "first line\n\n  second line\n", nil
}
