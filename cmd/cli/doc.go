package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/playbooks/source"
	"holdfast/tasks"
	"holdfast/tasks/task"
)

func newDocCmd(env *Env) *cobra.Command {
	format := "text"
	cmd := &cobra.Command{
		Use:   "doc [MODULE]",
		Short: "Show the task modules, or one with its fields, results and examples",
		Example: `  holdfast doc
  holdfast doc file
  holdfast doc --output json service`,
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return moduleNames(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if format != "text" && format != "json" {
				return usagef("--output text or --output json", "unknown output %q", format)
			}
			if len(args) == 0 {
				return env.docList(format)
			}
			for _, m := range tasks.All() {
				if m.Name == args[0] {
					return env.docModule(m, format)
				}
			}
			return usagef(env.docHint(args[0]), "no module is called %q", args[0])
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "text", "text or json")
	complete(cmd, "text", "json")
	return cmd
}

// docHint says where somebody finds what is no module.
func (env *Env) docHint(name string) string {
	for _, p := range env.finder().List() {
		if p.Name == name {
			return "it is a playbook: 'holdfast playbooks show " + name + "'"
		}
	}
	return cmp.Or(source.DidYouMean(name, moduleNames()), "'holdfast doc' lists them")
}

func (env *Env) docList(format string) error {
	if format == "json" {
		var out []moduleDoc
		for _, m := range tasks.All() {
			out = append(out, describe(m))
		}
		return json.NewEncoder(env.Stdout).Encode(out)
	}
	for _, m := range tasks.All() {
		fmt.Fprintf(env.Stdout, "%-16s %s\n", m.Name, m.Doc.Summary)
	}
	_, err := fmt.Fprintln(env.Stdout, "\n'holdfast doc MODULE' shows fields, results and examples")
	return err
}

// moduleDoc and fieldDoc are a module's documentation in JSON.
type moduleDoc struct {
	Name         string     `json:"name"`
	Summary      string     `json:"summary"`
	Action       bool       `json:"action"`
	ReadOnly     bool       `json:"read_only"`
	Controller   bool       `json:"controller,omitempty"`
	Risk         string     `json:"risk,omitempty"`
	Irreversible string     `json:"irreversible,omitempty"`
	Params       []fieldDoc `json:"params"`
	Result       []fieldDoc `json:"result"`
	Examples     []string   `json:"examples"`
}

type fieldDoc struct {
	Name     string     `json:"name"`
	Type     string     `json:"type"`
	Doc      string     `json:"doc"`
	Required bool       `json:"required,omitempty"`
	Default  string     `json:"default,omitempty"`
	OneOf    []string   `json:"oneof,omitempty"`
	Excludes []string   `json:"excludes,omitempty"`
	Requires []string   `json:"requires,omitempty"`
	Fields   []fieldDoc `json:"fields,omitempty"`
}

func describe(m *task.Module) moduleDoc {
	return moduleDoc{Name: m.Name, Summary: m.Doc.Summary, Action: m.Action, ReadOnly: m.ReadOnly, Controller: m.Controller, Risk: string(m.Risk),
		Irreversible: m.Irreversible, Params: describeFields(m.Params), Result: describeFields(m.Result), Examples: m.Doc.Examples}
}

func describeFields(fields []task.Field) []fieldDoc {
	out := []fieldDoc{}
	for _, f := range fields {
		out = append(out, fieldDoc{Name: f.Name, Type: f.TypeName(), Doc: f.Doc, Required: f.Required, Default: f.Default,
			OneOf: f.OneOf, Excludes: f.Excludes, Requires: f.Requires, Fields: describeFields(f.Fields)})
	}
	return out
}

func (env *Env) docModule(m *task.Module, format string) error {
	d := describe(m)
	if format == "json" {
		return json.NewEncoder(env.Stdout).Encode(d)
	}
	var b strings.Builder
	text, examples, _ := strings.Cut(m.Doc.Text, "\n## Examples")
	fmt.Fprintf(&b, "%s\n", strings.TrimSpace(text))
	fmt.Fprintf(&b, "\nFields\n")
	writeFields(&b, d.Params, "  ")
	fmt.Fprintf(&b, "\nResult, for register\n")
	writeFields(&b, d.Result, "  ")
	if m.Irreversible != "" {
		fmt.Fprintf(&b, "\nCannot be undone: %s\n", m.Irreversible)
	}
	if m.Controller {
		b.WriteString("\nIt works with on: controller alone.\n")
	}
	if m.Risk != "" {
		fmt.Fprintf(&b, "\nRisk: %s\n", m.Risk)
	}
	fmt.Fprintf(&b, "\nExamples\n%s\n", indentCode(examples))
	_, err := io.WriteString(env.Stdout, b.String())
	return err
}

func writeFields(b *strings.Builder, fields []fieldDoc, indent string) {
	width := 0
	for _, f := range fields {
		width = max(width, len(f.Name)+len(f.Type)+1)
	}
	for _, f := range fields {
		var notes []string
		if f.Required {
			notes = append(notes, "required")
		}
		if f.Default != "" {
			notes = append(notes, "default "+f.Default)
		}
		if len(f.OneOf) > 0 {
			notes = append(notes, "one of "+strings.Join(f.OneOf, ", "))
		}
		if len(f.Excludes) > 0 {
			notes = append(notes, "not with "+strings.Join(f.Excludes, ", "))
		}
		if len(f.Requires) > 0 {
			notes = append(notes, "needs "+strings.Join(f.Requires, ", "))
		}
		line := f.Doc
		if len(notes) > 0 {
			line += " (" + strings.Join(notes, "; ") + ")"
		}
		fmt.Fprintf(b, "%s%-*s  %s\n", indent, width, f.Name+" "+f.Type, line)
		writeFields(b, f.Fields, indent+"    ")
	}
}

// indentCode drops the fences of examples and indents what is in them.
func indentCode(s string) string {
	var out []string
	for line := range strings.SplitSeq(strings.TrimSpace(s), "\n") {
		if strings.HasPrefix(line, "```") {
			continue
		}
		out = append(out, strings.TrimRight("  "+line, " "))
	}
	return strings.Join(out, "\n")
}
