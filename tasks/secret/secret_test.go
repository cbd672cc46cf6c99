package secret_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"

	"holdfast/tasks/secret"
)

const canary = "c4n4ry's \"value\"/+"

func TestTextNeverPrints(t *testing.T) {
	outer := struct {
		hidden secret.Text
		Shown  secret.Text
	}{secret.New(canary), secret.New(canary)}
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("x", "s", outer.Shown, "p", &outer.Shown, "outer", outer, slog.Any("list", []secret.Text{outer.Shown}))
	}
	for _, want := range []string{"s=" + secret.Mask, `"s":"` + secret.Mask} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q: %s", want, log.String())
		}
	}
	b, err := json.Marshal(outer)
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{log.String(), string(b)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		texts = append(texts, fmt.Sprintf(verb, outer), fmt.Sprintf(verb, outer.Shown), fmt.Sprintf(verb, &outer))
	}
	for _, s := range texts {
		if strings.Contains(s, "c4n4ry") || strings.Contains(s, fmt.Sprintf("%x", canary)) {
			t.Errorf("the secret shows in %q", s)
		}
	}
}

func TestRedactorKnowsEncodedForms(t *testing.T) {
	var r secret.Redactor
	r.Add(secret.New(canary))
	quoted, _ := json.Marshal(canary)
	for _, s := range []string{canary, base64.StdEncoding.EncodeToString([]byte(canary)), url.QueryEscape(canary),
		fmt.Sprintf("%x", canary), string(quoted), "'" + strings.ReplaceAll(canary, "'", `'\''`) + "'"} {
		if got := r.String("before " + s + " after"); strings.Contains(got, s) || !strings.Contains(got, secret.Mask) {
			t.Errorf("String(%q) = %q", s, got)
		}
	}
}

func FuzzRedactorCuts(f *testing.F) {
	f.Add("some text hunter2secret and more hunter2secret", 7)
	f.Add("hunter2hunter2secret", 1)
	f.Fuzz(func(t *testing.T, s string, cut int) {
		const word = "hunter2secret"
		var r secret.Redactor
		r.Add(secret.New(word))
		var out bytes.Buffer
		w := r.Writer(&out)
		if cut < 1 {
			cut = 1
		}
		for len(s) > 0 {
			n := min(cut, len(s))
			if _, err := w.Write([]byte(s[:n])); err != nil {
				t.Fatal(err)
			}
			s = s[n:]
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(out.String(), word) {
			t.Errorf("cut at %d the secret comes out: %q", cut, out.String())
		}
	})
}
