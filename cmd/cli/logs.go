package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/inventory"
	"holdfast/runner"
	"holdfast/runner/plain"
	"holdfast/runner/remote"
)

// logs are the flags of the command that reads journals.
type logs struct {
	*asking
	units  []string
	since  string
	lines  int
	follow bool
}

func newLogsCmd(env *Env) *cobra.Command {
	l := &logs{asking: newAsking(env)}
	cmd := &cobra.Command{
		Use:   "logs [HOST...]",
		Short: "Read or follow the journals of hosts, a gateway's by default",
		Long: `Logs prints what units of hosts say in the journal, of the system's service manager
and of those of accounts, with the host before each line. Those of several hosts are
put in order by time; with --follow they come as they are said. Nothing stays on a host.
Secrets of the project that this machine can decrypt are masked.`,
		Example: `  holdfast logs gw1 --follow
  holdfast logs -l gateways --since 1h -u caddy
  holdfast logs gw1 gw2 --since '2026-11-28 06:00' --output json | jq -r .message`,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, s string) ([]string, cobra.ShellCompDirective) {
			return l.fleet.completeHosts(cmd, args, s)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			l.fleet.limit = append(l.fleet.limit, args...)
			argv, err := l.argv(cmd.Flags().Changed("lines"))
			if err != nil {
				return err
			}
			hosts, faults := l.fleet.hosts()
			if len(faults) > 0 {
				return faults.Err()
			}
			ctx, cancel := env.untilStopped(cmd.Context())
			defer cancel()
			l.mask(hosts)
			return l.print(ctx, hosts, argv)
		},
	}
	l.fleet.flags(cmd)
	cmd.Flags().StringVarP(&l.format, "output", "o", "text", "text or json (one message a line)")
	complete(cmd, "text", "json")
	cmd.Flags().StringArrayVarP(&l.units, "unit", "u", []string{"openclaw-gateway", "caddy"}, "whose messages; may be given several times")
	cmd.Flags().StringVar(&l.since, "since", "", "how far back: 10m, 2h, 3d, or a time of the host such as '2026-11-28 06:00'")
	cmd.Flags().IntVarP(&l.lines, "lines", "n", 100, "how many messages of each host at most, the newest; with --since all of them")
	cmd.Flags().BoolVarP(&l.follow, "follow", "f", false, "go on with what is said from now on, until interrupted")
	cmd.Flags().BoolVar(&l.noRoot, "no-root", false, "stay the account that logs in instead of becoming root; it sees what it may")
	return cmd
}

// What may be in the name of a unit (systemd.unit(5)), times as journalctl reads them,
// and what programs color their messages with.
var (
	colors   = regexp.MustCompile(`\x1b\[[0-9;]*m`)
	unitName = regexp.MustCompile(`^[A-Za-z0-9:_.@\\-]{1,255}$`)
	ago      = regexp.MustCompile(`^([1-9][0-9]{0,6})([smhd])$`)
	moments  = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}(:[0-9]{2})?)?$`)
)

// argv is the journal's own program with what the flags ask for. A message of a unit is
// one of its processes or what a service manager says of it.
func (l *logs) argv(limited bool) ([]string, error) {
	if err := ensureFormat(l.format); err != nil {
		return nil, err
	}
	argv := []string{"journalctl", "-q", "-a", "--no-pager", "-o", "json", "--output-fields=MESSAGE,_SYSTEMD_UNIT,_SYSTEMD_USER_UNIT,UNIT,USER_UNIT"}
	switch {
	case ago.MatchString(l.since):
		argv = append(argv, "--since=-"+l.since)
	case moments.MatchString(l.since):
		argv = append(argv, "--since="+strings.Replace(l.since, "T", " ", 1))
	case l.since != "":
		return nil, usagef("10m, 2h, 3d, or '2026-11-28 06:00'", "cannot read the time %q", l.since)
	}
	switch {
	case l.lines < 0:
		return nil, usagef("", "--lines cannot be %d", l.lines)
	case l.since == "" || limited:
		argv = append(argv, "--lines="+strconv.Itoa(l.lines))
	default:
		argv = append(argv, "--lines=all")
	}
	if l.follow {
		argv = append(argv, "--follow")
	}
	for i, unit := range l.units {
		if !unitName.MatchString(unit) {
			return nil, usagef("such as caddy.service", "%q is no name of a unit", unit)
		}
		if !strings.Contains(unit, ".") {
			unit += ".service"
		}
		if i > 0 {
			argv = append(argv, "+")
		}
		argv = append(argv, "_SYSTEMD_UNIT="+unit, "+", "_SYSTEMD_USER_UNIT="+unit, "+", "_PID=1", "UNIT="+unit, "+", "_COMM=systemd", "USER_UNIT="+unit)
	}
	return argv, nil
}

// mask makes the redactor know the secrets of the project that hosts may have. What is
// not known to this machine cannot be masked, which is said.
func (l *logs) mask(hosts []*inventory.Host) {
	store := l.env.store(l.fleet.identity)
	if !store.Exists() {
		return
	}
	refs, err := store.Refs()
	for _, ref := range refs {
		if !concerns(ref.Scope, hosts) {
			continue
		}
		text, failed := store.Read(ref)
		if failed == nil {
			l.env.redactor.Add(text)
		} else if err == nil {
			err = failed
		}
	}
	if err != nil {
		l.env.warn("not all secrets of the project are masked: "+err.Error(), "")
	}
}

// said is one message of a host.
type said struct {
	Host    string    `json:"host"`
	Time    time.Time `json:"time"`
	Unit    string    `json:"unit"`
	Message string    `json:"message"`
}

// print starts a reader on every host and prints what comes. A host that is lost or
// cannot be reached does not keep the others from being read.
func (l *logs) print(ctx context.Context, hosts []*inventory.Host, argv []string) error {
	ctx, cancel := context.WithCancel(ctx)
	ends := make(chan answer)
	var feeds []chan said
	shared := make(chan said)
	for _, h := range hosts {
		feed := shared
		if !l.follow {
			feed = make(chan said)
			feeds = append(feeds, feed)
		}
		go func() {
			err := l.read(ctx, h, argv, feed)
			if !l.follow {
				close(feed)
			}
			ends <- answer{host: h.Name, err: err}
		}()
	}
	var failed, broken error
	printed := make(chan struct{})
	go func() {
		defer close(printed)
		broken = l.all(ctx, shared, feeds)
		if broken != nil {
			cancel() // nobody reads any more
		}
	}()
	for range hosts {
		if end := <-ends; end.err != nil && ctx.Err() == nil {
			failed = worse(failed, l.missed(end))
		}
	}
	if ctx.Err() != nil {
		failed = &exit{runner.CodeInterrupted}
	}
	cancel()
	<-printed
	return firstOf(broken, failed)
}

// all prints messages: of one feed as they come, of several in the order of their times.
func (l *logs) all(ctx context.Context, shared <-chan said, feeds []chan said) error {
	if l.follow {
		for {
			select {
			case m := <-shared:
				if err := l.say(m); err != nil {
					return err
				}
			case <-ctx.Done():
				return nil
			}
		}
	}
	heads := make([]*said, len(feeds))
	for {
		first := -1
		for i, feed := range feeds {
			if heads[i] == nil && feed != nil {
				if m, more := <-feed; more {
					heads[i] = &m
				} else {
					feeds[i] = nil
				}
			}
			if heads[i] != nil && (first < 0 || heads[i].Time.Before(heads[first].Time)) {
				first = i
			}
		}
		if first < 0 {
			return nil
		}
		if err := l.say(*heads[first]); err != nil {
			return err
		}
		heads[first] = nil
	}
}

func (l *logs) say(m said) error {
	m.Message = l.env.redactor.String(m.Message)
	if l.format == "json" {
		enc := json.NewEncoder(l.env.Stdout)
		enc.SetEscapeHTML(false)
		return enc.Encode(m)
	}
	// Lines of a message keep the host before them, so that grep finds whose they are.
	start := fmt.Sprintf("%s  %s  %s  ", m.Host, moment(m.Time), plain.Line(strings.TrimSuffix(m.Unit, ".service")))
	var out strings.Builder
	for line := range strings.SplitSeq(plain.Text(colors.ReplaceAllString(strings.TrimSpace(m.Message), "")), "\n") {
		out.WriteString(strings.TrimRight(start+line, " ") + "\n")
	}
	_, err := io.WriteString(l.env.Stdout, out.String())
	return err
}

// read reads the journal of one host until its end.
func (l *logs) read(ctx context.Context, h *inventory.Host, argv []string, to chan<- said) error {
	conn, err := l.fleet.connect(ctx, h)
	if err != nil {
		return remote.AsUnreachable(h.Name, err)
	}
	defer conn.Close() //nolint:errcheck // nothing was written
	o := l.fleet.session(nil, !l.noRoot)(h)
	p, err := remote.Run(ctx, conn, o.Root, o.Setup, argv...)
	if err != nil {
		return err
	}
	defer p.Close() //nolint:errcheck // nothing was written
	defer context.AfterFunc(ctx, func() { _ = p.Close() })()
	none := true
	if err := entries(p.Stdout(), h.Name, func(m said) error {
		none = false
		select {
		case to <- m:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}); err != nil {
		return err
	}
	status, err := p.Wait()
	switch {
	case err != nil:
		return &remote.Lost{Err: err}
	case status != 0:
		return &remote.Refused{Message: fmt.Sprintf("journalctl ended with %d: %s", status, p.Said())}
	case none:
		l.env.warn(h.Name+": the journal has nothing of "+strings.Join(l.units, ", "), "")
	}
	return nil
}

// maxEntry bounds one entry of a journal; a host is not trusted to end a line.
const maxEntry = 1 << 20

// entries hands over what journalctl prints as JSON, an entry a line.
func entries(r io.Reader, host string, each func(said) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), maxEntry)
	for lines.Scan() {
		var e struct {
			Time     field `json:"__REALTIME_TIMESTAMP"`
			Message  field `json:"MESSAGE"`
			Unit     field `json:"_SYSTEMD_UNIT"`
			UserUnit field `json:"_SYSTEMD_USER_UNIT"`
			Of       field `json:"UNIT"` // what a service manager speaks of
			UserOf   field `json:"USER_UNIT"`
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return &remote.Refused{Message: "journalctl prints what cannot be read: " + err.Error()}
		}
		micros, _ := strconv.ParseInt(string(e.Time), 10, 64) // without one it is at the beginning of time
		m := said{Host: host, Time: time.UnixMicro(micros).UTC(), Message: string(e.Message)}
		for _, unit := range []field{e.Of, e.UserOf, e.UserUnit, e.Unit} {
			if m.Unit == "" {
				m.Unit = string(unit)
			}
		}
		if err := each(m); err != nil {
			return err
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return &remote.Refused{Message: fmt.Sprintf("a message is larger than %d KiB", maxEntry>>10)}
	}
	return nil // how it ended says the program's status
}

// field is one of a journal's entry: a text, bytes where it is none, several of them
// where it was said more than once, or null.
type field string

// UnmarshalJSON implements json.Unmarshaler.
func (f *field) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err == nil {
		*f = field(text)
		return nil
	}
	var many []json.RawMessage
	if err := json.Unmarshal(data, &many); err != nil {
		return err
	}
	var raw []byte
	for _, one := range many {
		if n, err := strconv.ParseUint(string(one), 10, 8); err == nil {
			raw = append(raw, byte(n))
			continue
		}
		var inner field
		if err := inner.UnmarshalJSON(one); err != nil {
			return err
		}
		if len(raw) > 0 {
			raw = append(raw, '\n')
		}
		raw = append(raw, inner...)
	}
	*f = field(raw)
	return nil
}
