// Package finding is the module that makes a line of the scorecard of what was looked at.
package finding

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"holdfast/tasks/task"
)

//go:embed doc.md
var doc string

// Params is what a playbook asks for.
type Params struct {
	ID      string `yaml:"id" validate:"required" doc:"Name of the line, the same in every audit, so that audits can be compared."`
	Section string `yaml:"section" validate:"required" doc:"Part of the scorecard."`
	Title   string `yaml:"title" validate:"required" doc:"What is wanted, as a sentence that is true of a host that is fine."`
	Looked  string `yaml:"looked" validate:"required" doc:"What was looked at."`
	Found   string `yaml:"found" default:"" doc:"What was there."`
	Wanted  string `yaml:"wanted" default:"" doc:"What should be there."`
	Hint    string `yaml:"hint" default:"" doc:"How to mend it."`

	Look *string `yaml:"look" doc:"What the look printed: what was found, unless found says it; unknown: WHY or missing: WHY mean what they say."`

	OK        *bool  `yaml:"ok" doc:"Whether it is as wanted."`
	Doubt     bool   `yaml:"doubt" default:"false" doc:"Whether it is not wrong, but should be looked at: a warning."`
	Severity  string `yaml:"severity" default:"fail" validate:"oneof=fail warning" doc:"What it is when it is not as wanted."`
	Known     bool   `yaml:"known" default:"true" doc:"Whether it could be looked at."`
	WhyNot    string `yaml:"unknown" default:"" doc:"Why it could not."`
	Applies   bool   `yaml:"applies" default:"true" doc:"Whether the host has what the line is about."`
	WhyNotHas string `yaml:"missing" default:"" doc:"Why the line is about nothing here."`

	Attested *string `yaml:"attested" doc:"What a person says of it, as 2026-10-31 NAME: WHAT, which counts where ok does not hold; empty when nobody did."`
	MaxAge   int64   `yaml:"max_age_days" default:"365" validate:"min=1,max=3650" doc:"Days after which what a person said counts no more."`

	Settings []string  `yaml:"settings" doc:"Names under which somebody may have accepted the risk."`
	Risks    task.Path `yaml:"risks" default:"/etc/holdfast/accepted-risks.json" doc:"File on the host with the accepted risks and their reasons."`
}

// Result is the line.
type Result struct {
	ID      string `yaml:"id" json:"id" doc:"Name of the line."`
	Section string `yaml:"section" json:"section" doc:"Part of the scorecard."`
	Title   string `yaml:"title" json:"title" doc:"What is wanted."`
	State   string `yaml:"state" json:"state" doc:"pass, fail, warning, accepted risk, not applicable or not known."`
	Looked  string `yaml:"looked" json:"looked" doc:"What was looked at."`
	Found   string `yaml:"found" json:"found" doc:"What was there."`
	Wanted  string `yaml:"wanted" json:"wanted" doc:"What should be there."`
	Hint    string `yaml:"hint" json:"hint" doc:"How to mend it, where it is not as wanted."`
	Reason  string `yaml:"reason" json:"reason" doc:"Why it is accepted, not applicable or not known."`
}

var _ task.Found = Result{}

// Line implements [task.Found].
func (r Result) Line() task.Finding {
	return task.Finding{ID: r.ID, Section: r.Section, Title: r.Title, State: task.FindingState(r.State), Looked: r.Looked,
		Found: r.Found, Wanted: r.Wanted, Hint: r.Hint, Reason: r.Reason}
}

// Module makes a line of the scorecard.
var Module = task.NewAction(task.ActionDef[Params, Result]{
	Name: "finding", Doc: doc,
	Validate: validate,
	Resource: func(p Params) string { return p.Title },
	ReadOnly: true,
	Run:      run,
})

var idRule = regexp.MustCompile(`^[a-z][a-z0-9-]{1,60}$`)

func validate(p Params) error {
	switch {
	case !idRule.MatchString(p.ID):
		return task.FieldErrorf("id", "%q is no name for a line: want small letters, digits and -", p.ID)
	case p.OK == nil && p.Attested == nil:
		return task.FieldErrorf("ok", "nothing says whether it is as wanted: give ok or attested")
	case strings.TrimSpace(p.Section) == "" || strings.TrimSpace(p.Title) == "":
		return task.FieldErrorf("title", "a line needs a section and a title")
	}
	return nil
}

// maxText bounds what one line shows of a host.
const maxText = 2000

func run(ctx context.Context, w task.Writer, p Params) (Result, error) {
	r := Result{ID: p.ID, Section: p.Section, Title: p.Title, Looked: short(p.Looked), Wanted: short(p.Wanted)}
	p = looked(p)
	r.Found = short(p.Found)
	set := func(s task.FindingState, reason string) { r.State, r.Reason = string(s), short(reason) }
	switch {
	case !p.Applies:
		set(task.FindingNotApplicable, or(p.WhyNotHas, "the host has nothing of the kind"))
		r.Wanted = ""
		return r, ctx.Err()
	case !p.Known:
		set(task.FindingNotKnown, or(p.WhyNot, "it could not be looked at"))
		// What half a look saw is no evidence.
		r.Hint, r.Found = short(p.Hint), ""
		return r, ctx.Err()
	}
	state, why := judge(p, time.Now())
	set(state, why)
	if state == task.FindingPass {
		return r, ctx.Err()
	}
	r.Hint = short(p.Hint)
	reason, err := accepted(ctx, w, p)
	if err != nil {
		r.Hint = strings.TrimSpace(r.Hint + " (" + string(p.Risks) + " says nothing: " + err.Error() + ")")
	}
	if reason != "" {
		set(task.FindingAccepted, reason)
	}
	return r, ctx.Err()
}

// looked reads what a look printed.
func looked(p Params) Params {
	if p.Look == nil {
		return p
	}
	text := strings.TrimSpace(*p.Look)
	if why, ok := strings.CutPrefix(text, "unknown:"); ok || text == "" {
		p.Known, p.WhyNot, p.Found = false, or(why, "the look printed nothing"), ""
	}
	if why, ok := strings.CutPrefix(text, "missing:"); ok {
		p.Applies, p.WhyNotHas, p.Found = false, why, ""
	}
	if p.Applies && p.Known && p.Found == "" {
		p.Found = text
	}
	return p
}

// judge says what the line comes to, accepted risks aside.
func judge(p Params, now time.Time) (task.FindingState, string) {
	wrong := task.FindingFail
	if p.Severity == "warning" {
		wrong = task.FindingWarning
	}
	holds := p.OK != nil && *p.OK
	if !holds && p.Attested != nil {
		if why := attestation(*p.Attested, p.MaxAge, now); why != "" {
			return wrong, why
		}
		return task.FindingPass, ""
	}
	switch {
	case !holds:
		return wrong, ""
	case p.Doubt:
		return task.FindingWarning, ""
	}
	return task.FindingPass, ""
}

var saidRule = regexp.MustCompile(`^(\d{4}-\d{2}-\d{2}) ([^:]{2,80}): (.{3,})$`)

// attestation says why what a person said does not count, or nothing.
func attestation(said string, days int64, now time.Time) string {
	if strings.TrimSpace(said) == "" {
		return "nobody has said so"
	}
	m := saidRule.FindStringSubmatch(said)
	if m == nil {
		return fmt.Sprintf("%q is not of the form 2026-10-31 NAME: WHAT", short(said))
	}
	at, err := time.Parse(time.DateOnly, m[1])
	switch {
	case err != nil:
		return m[1] + " is no date"
	case at.After(now.Add(48 * time.Hour)): // clocks and time zones differ
		return m[1] + " has not come yet"
	case now.Sub(at) > time.Duration(days)*24*time.Hour:
		return fmt.Sprintf("it was said on %s, more than %d days ago", m[1], days)
	}
	return ""
}

// maxRisks bounds the file of accepted risks.
const maxRisks = 256 << 10

// accepted returns the reason for which somebody accepted the risk, if somebody did.
func accepted(ctx context.Context, r task.Reader, p Params) (string, error) {
	if len(p.Settings) == 0 {
		return "", nil
	}
	info, err := r.Stat(ctx, string(p.Risks))
	if err != nil || !info.Exists() {
		return "", err
	}
	// Whoever may write the file decides what passes for fine.
	if info.Kind == task.KindFile && (info.Owner != "root" || info.Mode&0o022 != 0) {
		return "", errors.New("others than root may write it")
	}
	data, err := r.ReadFile(ctx, string(p.Risks), maxRisks)
	if err != nil {
		return "", err
	}
	risks, err := parse(data)
	if err != nil {
		return "", err
	}
	for _, name := range p.Settings {
		if reason := strings.TrimSpace(risks[name]); len(reason) >= 3 {
			return name + ": " + reason, nil
		}
	}
	return "", nil
}

// parse reads settings and reasons, which may be below "accepted".
func parse(data []byte) (map[string]string, error) {
	var whole struct {
		Accepted map[string]string `json:"accepted"`
	}
	if err := json.Unmarshal(data, &whole); err != nil {
		return nil, fmt.Errorf("it is not as expected: %w", err)
	}
	if whole.Accepted != nil {
		return whole.Accepted, nil
	}
	var flat map[string]string
	if err := json.Unmarshal(data, &flat); err != nil {
		return nil, fmt.Errorf("it is not as expected: %w", err)
	}
	return flat, nil
}

func or(text, instead string) string {
	if strings.TrimSpace(text) == "" {
		return instead
	}
	return text
}

func short(s string) string {
	s = strings.TrimSpace(s)
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…"
}
