package render_test

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"holdfast/cmd/render"
	"holdfast/runner/audit"
)

// scorecards reads reports as audit --output json writes them.
func scorecards(t *testing.T) []*audit.Report {
	t.Helper()
	data, err := os.ReadFile("testdata/audit/reports.json")
	if err != nil {
		t.Fatal(err)
	}
	var out []*audit.Report
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAuditText(t *testing.T) {
	for name, opts := range map[string]render.AuditOptions{"text": {}, "verbose": {Verbose: true}} {
		var plain, colored bytes.Buffer
		if err := render.Audit(&plain, scorecards(t), opts); err != nil {
			t.Fatal(err)
		}
		compare(t, "testdata/audit/"+name+".txt", plain.String())
		opts.Color = true
		if err := render.Audit(&colored, scorecards(t), opts); err != nil {
			t.Fatal(err)
		}
		if got := escapes.ReplaceAllString(colored.String(), ""); got == colored.String() || got != plain.String() {
			t.Errorf("%s: colour is not only colour: %s", name, got)
		}
	}
}

var outside = regexp.MustCompile(`(?i)(src|href)=|url\(|@import|<script|<link|<img|<iframe`)

func TestAuditHTML(t *testing.T) {
	var out bytes.Buffer
	if err := render.AuditHTML(&out, scorecards(t), time.Date(2026, 10, 31, 12, 0, 0, 0, time.UTC)); err != nil {
		t.Fatal(err)
	}
	page := out.String()
	compare(t, "testdata/audit/page.html", page)
	if found := outside.FindString(page); found != "" {
		t.Errorf("the page needs %q", found)
	}
	// What hosts said is text, wherever it stands.
	if strings.Contains(page, "<b>bold") || !strings.Contains(page, "&lt;b&gt;bold") {
		t.Error("a host can write into the page")
	}
	for _, want := range []string{`lang="en"`, "prefers-color-scheme: dark", "@media print", `<span class="state fail">fail</span>`, `<span class="state not-known">not known</span>`, "NAME &amp; more"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %s", want)
		}
	}
}
