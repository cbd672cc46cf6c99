package alert_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"holdfast/tasks/alert"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, alert.Module) }

// server answers requests one after the other and remembers them.
type server struct {
	answers []int
	got     []task.Request
}

func (s *server) host() *tasktest.Host {
	h := tasktest.NewHost()
	h.OnFetch = func(r task.Request) (task.Response, error) {
		s.got = append(s.got, r)
		status := 200
		if len(s.answers) > 0 {
			status, s.answers = s.answers[0], s.answers[1:]
		}
		if status == 0 {
			return task.Response{}, errors.New("connection refused")
		}
		return task.Response{Status: status, Body: []byte(`{"ok":false,
 "description":"what it says"}`)}, nil
	}
	return h
}

const everybody = `{message: The text., title: Title, level: warning,
 telegram: {token: '${secret("t")}', chat: "-1"}, discord: {webhook: '${secret("d")}'},
 ntfy: {topic: '${secret("n")}', token: '${secret("k")}'}, webhook: {url: '${secret("w")}', headers: [{name: X-Key, value: '${secret("x")}'}]},
 ping: {url: '${secret("p")}'}}`

func TestRequests(t *testing.T) {
	s := &server{}
	result, changed, err := tasktest.Run(t, s.host(), alert.Module, everybody)
	if err != nil || changed {
		t.Fatalf("changed %v, %v", changed, err)
	}
	if got := fmt.Sprint(result.(alert.Result).Sent); got != "[telegram discord ntfy webhook ping]" {
		t.Errorf("sent to %s", got)
	}
	want := []struct{ url, body string }{
		{"https://api.telegram.org/bot" + tasktest.Canary + "/sendMessage", `{"chat_id":"-1","text":"WARNING: Title\nThe text."}`},
		{tasktest.Canary, `{"allowed_mentions":{"parse":[]},"content":"WARNING: Title\nThe text."}`},
		{"https://ntfy.sh", `{"message":"The text.","priority":4,"tags":["warning"],"title":"Title","topic":"` + tasktest.Canary + `"}`},
		{tasktest.Canary, `{"host":"test","level":"warning","message":"The text.","title":"Title"}`},
		{tasktest.Canary, "WARNING: Title\nThe text."},
	}
	if len(s.got) != len(want) {
		t.Fatalf("%d requests", len(s.got))
	}
	for i, r := range s.got {
		url := r.URL
		if !r.Hidden.IsZero() {
			url = r.Hidden.Reveal()
		}
		if r.Method != "POST" || url != want[i].url || !strings.HasPrefix(string(r.Body), want[i].body[:strings.Index(want[i].body, ":")]) {
			t.Errorf("request %d: %s %s %s", i, r.Method, url, r.Body)
		}
		if i != 3 && string(r.Body) != want[i].body {
			t.Errorf("request %d: %s, want %s", i, r.Body, want[i].body)
		}
		if strings.Contains(r.URL, tasktest.Canary) {
			t.Errorf("request %d shows its URL: %s", i, r.URL)
		}
	}
	var hook map[string]string
	if err := json.Unmarshal(s.got[3].Body, &hook); err != nil || hook["message"] != "The text." || hook["level"] != "warning" || hook["host"] == "" {
		t.Errorf("the webhook gets %s, %v", s.got[3].Body, err)
	}
	if got := s.got[2].Secrets["Authorization"].Reveal() + s.got[3].Secrets["X-Key"].Reveal(); got != "Bearer "+tasktest.Canary+tasktest.Canary {
		t.Errorf("the headers are %s", got)
	}
}

func TestTriesAgain(t *testing.T) {
	const args = `{message: x, ntfy: {topic: '${secret("n")}'}, tries: 2}`
	tests := []struct {
		name    string
		answers []int
		asked   int
		want    string
	}{
		{"taken", []int{200}, 1, ""},
		{"busy", []int{503, 200}, 2, ""},
		{"unreachable", []int{0, 204}, 2, ""},
		{"refused", []int{403}, 1, `cannot tell everybody: ntfy: status 403: {"ok":false, "description":"what it says"}`},
		{"given up", []int{429, 0}, 2, "cannot tell everybody: ntfy: connection refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // each second try waits for a second
			s := &server{answers: tt.answers}
			_, _, err := tasktest.Run(t, s.host(), alert.Module, args)
			if len(s.got) != tt.asked || tt.want == "" && err != nil || tt.want != "" && (err == nil || err.Error() != tt.want) {
				t.Errorf("asked %d times: %v", len(s.got), err)
			}
		})
	}
}

func TestNeed(t *testing.T) {
	const args = `{message: x, tries: 1, need: %s, ntfy: {topic: '${secret("n")}'}, discord: {webhook: '${secret("d")}'}}`
	for need, want := range map[string][]bool{"all": {true, false, false}, "any": {true, true, false}, "none": {true, true, true}} {
		for i, answers := range [][]int{{200, 200}, {500, 200}, {500, 500}} {
			s := &server{answers: answers}
			_, _, err := tasktest.Run(t, s.host(), alert.Module, fmt.Sprintf(args, need))
			if (err == nil) != want[i] {
				t.Errorf("need %s with the answers %v: %v", need, answers, err)
			}
		}
	}
}

func TestLongMessagesAreCut(t *testing.T) {
	s := &server{}
	args := fmt.Sprintf(`{message: %s, discord: {webhook: '${secret("d")}'}}`, strings.Repeat("ü", 3000))
	if _, _, err := tasktest.Run(t, s.host(), alert.Module, args); err != nil {
		t.Fatal(err)
	}
	var body struct{ Content string }
	if err := json.Unmarshal(s.got[0].Body, &body); err != nil || len([]rune(body.Content)) != 2000 || !strings.HasSuffix(body.Content, "ü…") {
		t.Errorf("%d characters, %v", len([]rune(body.Content)), err)
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{message: x}":                           "alert.message: nobody is to be told",
		`{discord: {webhook: '${secret("d")}'}}`: "alert.message: there is nothing to say",
		`{message: x, telegram: {token: '${secret("t")}', chat: "1", api: x}}`: "alert.telegram.api: want http",
		`{message: x, ntfy: {topic: '${secret("t")}', server: ftp://x}}`:       "alert.ntfy.server: want http",
		`{message: x, ntfy: {topic: visible}}`:                                 "alert.ntfy.topic",
		`{message: x, telegram: {chat: "1"}}`:                                  "alert.telegram.token: missing",
	} {
		if got := tasktest.Fault(alert.Module, args); !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", args, got, want)
		}
	}
}
