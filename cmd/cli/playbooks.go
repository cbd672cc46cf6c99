package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"holdfast/cmd/render"
	"holdfast/playbooks"
	"holdfast/playbooks/source"
	"holdfast/tasks/task"
)

func newPlaybooksCmd(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "playbooks",
		Short: "List, show, copy and compare playbooks",
		Example: `  holdfast playbooks list
  holdfast playbooks show baseline
  holdfast playbooks copy baseline           # make it yours: playbooks/baseline
  holdfast playbooks diff baseline           # yours against the shipped one`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return env.listPlaybooks("text") },
	}
	format := "text"
	list := &cobra.Command{
		Use: "list", Short: "List the playbooks that can be named", Example: "  holdfast playbooks list --output json", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return env.listPlaybooks(format) },
	}
	list.Flags().StringVarP(&format, "output", "o", "text", "text or json")
	complete(list, "text", "json")
	show := &cobra.Command{
		Use: "show NAME", Short: "Show what a playbook is for, its parameters, and its tasks", Example: "  holdfast playbooks show baseline",
		Args: cobra.ExactArgs(1), ValidArgsFunction: env.completePlaybooks,
		RunE: func(_ *cobra.Command, args []string) error { return env.showPlaybook(args[0]) },
	}
	copyCmd := &cobra.Command{
		Use: "copy NAME [FOLDER]", Short: "Copy a shipped playbook into the project, to change it", Example: "  holdfast playbooks copy baseline",
		Args: cobra.RangeArgs(1, 2), ValidArgsFunction: env.completePlaybooks,
		RunE: func(_ *cobra.Command, args []string) error {
			to := filepath.Join("playbooks", args[0])
			if len(args) == 2 {
				to = args[1]
			}
			return env.copyPlaybook(args[0], to)
		},
	}
	diff := &cobra.Command{
		Use: "diff NAME", Short: "Compare the playbook that is used with the shipped one", Example: "  holdfast playbooks diff baseline",
		Args: cobra.ExactArgs(1), ValidArgsFunction: env.completePlaybooks,
		RunE: func(_ *cobra.Command, args []string) error { return env.diffPlaybook(args[0]) },
	}
	cmd.AddCommand(list, show, copyCmd, diff)
	return cmd
}

func (env *Env) listPlaybooks(format string) error {
	list := env.finder().List()
	if format == "json" {
		return json.NewEncoder(env.Stdout).Encode(list)
	}
	rows := [][]string{}
	for _, p := range list {
		from := p.Origin
		if p.Hides != "" {
			from += ", hides " + p.Hides
		}
		rows = append(rows, []string{p.Name, p.Version, from, p.Summary})
	}
	_, err := fmt.Fprint(env.Stdout, render.Table([]string{"playbook", "version", "from", "what for"}, rows))
	return err
}

func (env *Env) showPlaybook(name string) error {
	pb, faults := env.finder().Find(name)
	if pb == nil || len(faults) > 0 {
		return faults.Err()
	}
	fmt.Fprintf(env.Stdout, "%s %s, from %s\n%s\n\nParameters\n", pb.Name, pb.Version, pb.Origin, pb.Summary)
	rows := [][]string{}
	for _, p := range pb.Params {
		def := "required"
		if p.Default != nil {
			b, err := p.Default.MarshalJSON()
			if err != nil {
				return err
			}
			def = string(b)
		}
		rows = append(rows, []string{p.Name, p.Type.String(), def, p.Doc})
	}
	fmt.Fprint(env.Stdout, render.Table([]string{"name", "type", "default", "what for"}, rows))
	fmt.Fprintln(env.Stdout, "\nTasks")
	for i, e := range pb.Tasks {
		fmt.Fprintf(env.Stdout, "  %2d  %s\n", i+1, e.Name)
	}
	if readme, err := fs.ReadFile(pb.FS, "README.md"); err == nil {
		fmt.Fprintf(env.Stdout, "\n%s", readme)
	}
	return nil
}

func (env *Env) copyPlaybook(name, to string) error {
	library := playbooks.Finder{Modules: moduleNames()}
	pb, faults := library.Find(name)
	if pb == nil {
		return faults.Err()
	}
	dir := env.path(to)
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return usagef("remove it first, or name another folder", "cannot copy to %q: it is there already", to)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("cannot copy the playbook: %w", err)
	}
	if err := os.CopyFS(dir, pb.FS); err != nil {
		return fmt.Errorf("cannot copy the playbook: %w", err)
	}
	file := filepath.Join(dir, "playbook.yml")
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("cannot copy the playbook: %w", err)
	}
	note := fmt.Sprintf("# Copied from the shipped %s %s; 'holdfast playbooks diff %s' compares.\n", name, pb.Version, name)
	if err := os.WriteFile(file, append([]byte(note), data...), 0o644); err != nil {
		return fmt.Errorf("cannot copy the playbook: %w", err)
	}
	fmt.Fprintf(env.Stdout, "%s %s is in %s now, and is used from there\n", name, pb.Version, to)
	return nil
}

func (env *Env) diffPlaybook(name string) error {
	mine, _, err := env.finder().Files(name)
	if err != nil {
		return err
	}
	shipped, _, err := playbooks.Finder{}.Files(name)
	if err != nil {
		return &source.Fault{Message: fmt.Sprintf("no playbook called %q is shipped, so there is nothing to compare with", name)}
	}
	names := map[string]bool{}
	for _, fsys := range []fs.FS{shipped, mine} {
		err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				names[p] = true
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("cannot compare the playbooks: %w", err)
		}
	}
	same := true
	for _, p := range sortedKeys(names) {
		a, _ := fs.ReadFile(shipped, p) // one that is not there is empty
		b, _ := fs.ReadFile(mine, p)
		if !bytes.Equal(a, b) {
			same = false
			fmt.Fprint(env.Stdout, task.ContentChange(p, p, task.ContentOf(a), task.ContentOf(b)).Diff)
		}
	}
	if same {
		fmt.Fprintf(env.Stdout, "%s is the shipped one\n", name)
	}
	return nil
}
