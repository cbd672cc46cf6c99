package alert

import (
	"encoding/json"
	"strings"
	"unicode/utf8"

	"holdfast/tasks/secret"
	"holdfast/tasks/task"
)

// channel is one way to tell people.
type channel struct {
	name    string
	request task.Request
}

// Limits of what the services take, in characters.
const (
	telegramLimit = 4096
	discordLimit  = 2000
	ntfyLimit     = 4000 // of 4096 bytes
)

// channels returns the requests in the order of the fields. Facts may be nil where
// only the names count.
func (p *Params) channels(facts *task.Facts) []channel {
	var out []channel
	add := func(name, shown string, hidden task.SecretText, body any, headers map[string]task.SecretText) {
		data, _ := json.Marshal(body) // plain maps of texts and numbers
		out = append(out, channel{name, task.Request{Method: "POST", URL: shown, Hidden: hidden, Body: data, Secrets: headers,
			Header: map[string]string{"Content-Type": "application/json"}, MaxBody: 64 << 10}})
	}
	if t := p.Telegram; t != nil {
		api := strings.TrimSuffix(t.API, "/")
		add("telegram", api, secret.New(api+"/bot"+t.Token.Reveal()+"/sendMessage"),
			map[string]any{"chat_id": t.Chat, "text": cut(p.text(), telegramLimit)}, nil)
	}
	if d := p.Discord; d != nil {
		// Nobody is called by a message, whatever names are in it.
		add("discord", "the webhook of Discord", d.Webhook,
			map[string]any{"content": cut(p.text(), discordLimit), "allowed_mentions": map[string]any{"parse": []string{}}}, nil)
	}
	if n := p.Ntfy; n != nil {
		add("ntfy", n.Server, task.SecretText{}, n.body(p), bearer(n.Token))
	}
	if w := p.Webhook; w != nil {
		add("webhook", "the webhook", w.URL, p.json(facts), task.SecretHeaders(w.Headers))
		if w.Body != nil {
			out[len(out)-1].request.Body = []byte(*w.Body)
		}
	}
	if g := p.Ping; g != nil {
		r := task.Request{Method: g.Method, URL: "the watchdog", Hidden: g.URL, MaxBody: 64 << 10}
		if g.Method == "POST" {
			r.Body = []byte(cut(p.text(), telegramLimit))
		}
		out = append(out, channel{"ping", r})
	}
	return out
}

// text is the message where a channel has no title of its own.
func (p *Params) text() string {
	text := p.Message
	if p.Title != "" {
		text = p.Title + "\n" + text
	}
	if p.Level != "info" {
		text = strings.ToUpper(p.Level) + ": " + text
	}
	return strings.TrimSpace(text)
}

func (n *Ntfy) body(p *Params) map[string]any {
	out := map[string]any{"topic": n.Topic.Reveal(), "message": cut(p.Message, ntfyLimit),
		"priority": map[string]int{"info": 3, "warning": 4, "critical": 5}[p.Level]}
	if p.Title != "" {
		out["title"] = p.Title
	}
	if p.Level != "info" {
		out["tags"] = []string{p.Level}
	}
	return out
}

func bearer(token task.SecretText) map[string]task.SecretText {
	if token.IsZero() {
		return nil
	}
	return map[string]task.SecretText{"Authorization": secret.New("Bearer " + token.Reveal())}
}

// json is what a webhook gets.
func (p *Params) json(facts *task.Facts) map[string]any {
	out := map[string]any{"title": p.Title, "message": p.Message, "level": p.Level}
	if facts != nil {
		out["host"] = facts.Hostname
	}
	return out
}

// cut shortens a text to so many characters and says so.
func cut(text string, limit int) string {
	if utf8.RuneCountInString(text) <= limit {
		return text
	}
	return string([]rune(text)[:limit-1]) + "…"
}
