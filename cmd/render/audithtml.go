package render

import (
	_ "embed"
	"html/template"
	"io"
	"strings"
	"time"

	"holdfast/runner/audit"
	"holdfast/runner/plain"
	"holdfast/tasks/task"
)

//go:embed audit.html.tmpl
var auditPage string

// auditTemplate makes the page. html/template escapes what hosts said for the place
// where it stands.
var auditTemplate = template.Must(template.New("audit").Funcs(template.FuncMap{
	"clean": func(s string) string { return strings.Join(split(plain.Text(s)), "\n") },
	"class": func(s task.FindingState) string { return strings.ReplaceAll(string(s), " ", "-") },
	"when":  func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") },
	"parts": func(c *audit.Comparison) []htmlPart {
		var out []htmlPart
		for _, p := range auditParts(c) {
			if len(p.list) > 0 {
				out = append(out, htmlPart{p.word, p.list})
			}
		}
		return out
	},
	"move": fromTo,
}).Parse(auditPage))

type htmlPart struct {
	Word string
	List []audit.Delta
}

type htmlHost struct {
	*audit.Report
	Totals   []htmlTotal
	Sections []htmlSection
}

type htmlTotal struct {
	State task.FindingState
	N     int
}

type htmlSection struct {
	Name  string
	Lines []task.Finding
}

// AuditHTML writes scorecards as one page that needs nothing else.
func AuditHTML(w io.Writer, reports []*audit.Report, made time.Time) error {
	page := struct {
		Made  time.Time
		Hosts []htmlHost
	}{Made: made}
	for _, r := range reports {
		h := htmlHost{Report: r}
		for _, s := range task.FindingStates {
			h.Totals = append(h.Totals, htmlTotal{s, r.Counts()[s]})
		}
		for _, name := range audit.Sections([]*audit.Report{r}) {
			s := htmlSection{Name: name}
			for _, l := range r.Lines {
				if l.Section == name {
					s.Lines = append(s.Lines, l)
				}
			}
			h.Sections = append(h.Sections, s)
		}
		page.Hosts = append(page.Hosts, h)
	}
	return auditTemplate.Execute(w, page)
}
