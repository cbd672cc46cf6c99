// Package alert tells people that something happened.
package alert

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast/tasks/task"
)

//go:embed doc.md
var doc string

// Params is what a playbook asks for.
type Params struct {
	Message  string    `yaml:"message" default:"" doc:"What to say; required unless there is only a ping."`
	Title    string    `yaml:"title" default:"" doc:"A first line, where the channel has one."`
	Level    string    `yaml:"level" default:"info" validate:"oneof=info warning critical" doc:"How much it matters."`
	Telegram *Telegram `yaml:"telegram" doc:"A chat of Telegram."`
	Discord  *Discord  `yaml:"discord" doc:"A channel of Discord."`
	Ntfy     *Ntfy     `yaml:"ntfy" doc:"A topic of ntfy."`
	Webhook  *Webhook  `yaml:"webhook" doc:"Any server that takes JSON."`
	Ping     *Ping     `yaml:"ping" doc:"A watchdog that alerts when it hears nothing."`
	Tries    int64     `yaml:"tries" default:"3" validate:"min=1,max=10" doc:"How often each channel is tried."`
	Need     string    `yaml:"need" default:"all" validate:"oneof=all any none" doc:"Which channels must have taken it."`
}

// Telegram is a bot and a chat that it writes to.
type Telegram struct {
	Token task.SecretText `yaml:"token" validate:"required" doc:"The bot's token."`
	Chat  string          `yaml:"chat" validate:"required" doc:"Number or @name of the chat."`
	API   string          `yaml:"api" default:"https://api.telegram.org" doc:"Where the API is."`
}

// Discord is a webhook of a channel.
type Discord struct {
	Webhook task.SecretText `yaml:"webhook" validate:"required" doc:"The webhook's URL, which is a secret."`
}

// Ntfy is a topic on a server.
type Ntfy struct {
	Server string          `yaml:"server" default:"https://ntfy.sh" doc:"The server."`
	Topic  task.SecretText `yaml:"topic" validate:"required" doc:"The topic; who knows it can read along."`
	Token  task.SecretText `yaml:"token" doc:"A token, where the server wants one."`
}

// Webhook is a server that is sent JSON.
type Webhook struct {
	URL     task.SecretText `yaml:"url" validate:"required" doc:"The address, which is a secret."`
	Body    *string         `yaml:"body" doc:"What to send in place of our own JSON."`
	Headers []task.Header   `yaml:"headers" doc:"Headers whose values must not be seen."`
}

// Ping is a check of a service such as healthchecks.io.
type Ping struct {
	URL    task.SecretText `yaml:"url" validate:"required" doc:"The address, which is a secret."`
	Method string          `yaml:"method" default:"POST" validate:"oneof=GET HEAD POST" doc:"How to ask."`
}

// Result says which channels took the message.
type Result struct {
	Sent   []string `yaml:"sent" json:"sent" doc:"Channels that took it."`
	Failed []string `yaml:"failed" json:"failed" doc:"Channels that did not, and why."`
}

// Module tells people.
var Module = task.NewAction(task.ActionDef[Params, Result]{
	Name: "alert", Doc: doc,
	Validate:     validate,
	Resource:     resource,
	Run:          run,
	Changed:      func(Params, Result) bool { return false },
	Tells:        true,
	TLS:          true,
	Irreversible: "what was said cannot be taken back",
})

func resource(p Params) string {
	var out []string
	for _, c := range p.channels(nil) {
		out = append(out, c.name)
	}
	return strings.Join(out, ", ")
}

func validate(p Params) error {
	said := p.Telegram != nil || p.Discord != nil || p.Ntfy != nil || p.Webhook != nil
	switch {
	case !said && p.Ping == nil:
		return task.FieldErrorf("message", "nobody is to be told: name telegram, discord, ntfy, webhook or ping")
	case said && p.Message == "":
		return task.FieldErrorf("message", "there is nothing to say")
	case p.Telegram != nil && !isWeb(p.Telegram.API):
		return task.FieldErrorf("telegram.api", "want http:// or https://")
	case p.Ntfy != nil && !isWeb(p.Ntfy.Server):
		return task.FieldErrorf("ntfy.server", "want http:// or https://")
	}
	return nil
}

func isWeb(url string) bool {
	return strings.HasPrefix(url, "http://") || strings.HasPrefix(url, "https://")
}

func run(ctx context.Context, w task.Writer, p Params) (Result, error) {
	r := Result{Sent: []string{}, Failed: []string{}}
	var failed error
	for _, c := range p.channels(w.Facts()) {
		if err := c.send(ctx, w, p.Tries); err != nil {
			err = fmt.Errorf("%s: %w", c.name, err)
			r.Failed = append(r.Failed, err.Error())
			if failed != nil {
				err = fmt.Errorf("%w; %w", failed, err)
			}
			failed = err
			continue
		}
		r.Sent = append(r.Sent, c.name)
	}
	if failed == nil || p.Need == "none" || p.Need == "any" && len(r.Sent) > 0 {
		return r, nil
	}
	return r, fmt.Errorf("cannot tell everybody: %w", failed)
}

// send makes a channel's request until it is taken.
func (c *channel) send(ctx context.Context, w task.Writer, tries int64) error {
	wait := firstWait
	for try := int64(1); ; try++ {
		resp, err := w.Fetch(ctx, c.request)
		if err == nil && resp.Status >= 200 && resp.Status <= 299 {
			return nil
		}
		again := err != nil || slices.Contains([]int{408, 425, 429}, resp.Status) || resp.Status >= 500
		if err == nil {
			err = fmt.Errorf("status %d%s", resp.Status, said(resp.Body))
		}
		if !again || try == tries || ctx.Err() != nil {
			return err
		}
		w.Progress(fmt.Sprintf("%s did not take it, trying again", c.name))
		if err := pause(ctx, longer(wait, resp)); err != nil {
			return err
		}
		wait *= 2
	}
}

// How long to wait before the second try, and at most.
const (
	firstWait = 500 * time.Millisecond
	maxWait   = time.Minute
)

// longer returns how long to wait: what the server asks for, within reason.
func longer(wait time.Duration, resp task.Response) time.Duration {
	for _, v := range resp.Header["Retry-After"] {
		var seconds int64
		if n, err := fmt.Sscanf(v, "%d", &seconds); n == 1 && err == nil && seconds >= 0 {
			wait = max(wait, time.Duration(min(seconds, int64(maxWait/time.Second)))*time.Second)
		}
	}
	return min(wait, maxWait)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// said returns what of an answer fits into a failure.
func said(body []byte) string {
	text := strings.Join(strings.Fields(string(body[:min(len(body), 200)])), " ")
	if text == "" || !task.Printable([]byte(text)) {
		return ""
	}
	return ": " + text
}
