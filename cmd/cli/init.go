package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
)

// firstFiles is what init writes, by name.
var firstFiles = map[string]string{
	"inventory.yml": `# The hosts of this project. 'holdfast hosts' lists them.
ssh:
  users: [root]            # tried in order; the one that works is remembered
  ports: [22]
hosts:
  web1:
    address: 203.0.113.10  # change this
    labels: {role: gateway}
groups:
  gateways: {select: 'host.labels.role == "gateway"'}
`,
	"playbooks/hello.yml": `playbook: hello
version: 0.1.0
summary: A first playbook. 'holdfast doc' lists the modules that it may use.
params:
  greeting: {type: string, default: Hello, doc: The first word.}
tasks:
  - name: greeting
    file:
      path: /etc/holdfast-hello
      content: "${params.greeting} from ${host.name}\n"
      mode: "0644"
verify:
  - name: the greeting is there
    file: {path: /etc/holdfast-hello}
`,
}

func newInitCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:     "init [FOLDER]",
		Short:   "Write a first inventory and playbook",
		Long:    "Init writes inventory.yml and playbooks/hello.yml. It overwrites nothing.",
		Example: "  holdfast init fleet && cd fleet",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			dir := env.path(first(args))
			for _, name := range slices.Sorted(maps.Keys(firstFiles)) {
				if err := env.writeNew(filepath.Join(dir, name), name, firstFiles[name]); err != nil {
					return err
				}
			}
			fmt.Fprintln(env.Stdout, "next: edit inventory.yml, then")
			fmt.Fprintln(env.Stdout, "  holdfast trust        # record the host keys")
			fmt.Fprintln(env.Stdout, "  holdfast plan hello   # see what would change")
			return nil
		},
	}
}

func (env *Env) writeNew(path, shown, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("cannot write %s: %w", shown, err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		fmt.Fprintf(env.Stdout, "%s is there already, left alone\n", shown)
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", shown, err)
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("cannot write %s: %w", shown, err)
	}
	fmt.Fprintf(env.Stdout, "wrote %s\n", shown)
	return nil
}

func sortedKeys(m map[string]bool) []string { return slices.Sorted(maps.Keys(m)) }
