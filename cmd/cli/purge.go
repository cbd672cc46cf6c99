package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/inventory"
	"holdfast/runner"
	"holdfast/runner/plain"
	"holdfast/runner/remote"
)

// purgeScript removes the cached helpers, and with "all" what the host remembers of
// runs. It is one line of words that every shell reads alike.
const purgeScript = `for d in /var/cache /var/lib /run /dev/shm /var/tmp "$HOME/.cache" "/run/user/$(id -u)"; do for f in "$d"/holdfast/????????????????; do if [ -O "$f" ]; then rm -rf "$f" && echo "removed $f"; fi; done; done`

func newHelperPurgeCmd(env *Env) *cobra.Command {
	f := env.fleet()
	cmd := &cobra.Command{
		Use:   "purge",
		Short: "Remove the cached helpers from hosts",
		Long: `Purge removes the helpers that earlier runs left in their cache. What a host
remembers of runs stays, so that they can still be taken back.`,
		Example: "  holdfast helper purge -i inventory.yml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			hosts, faults := f.hosts()
			if len(faults) > 0 {
				return faults.Err()
			}
			missed := 0
			for _, h := range hosts {
				out, err := f.purge(cmd.Context(), h)
				if err != nil {
					env.errorLine(remote.AsUnreachable(h.Name, err).Error())
					missed++
					continue
				}
				fmt.Fprintf(env.Stdout, "%s  %s\n", h.Name, plain.Line(out))
			}
			if missed > 0 {
				return &exit{runner.CodeUnreachable}
			}
			return nil
		},
	}
	f.flags(cmd)
	return cmd
}

func (f *fleet) purge(ctx context.Context, h *inventory.Host) (string, error) {
	conn, err := f.connect(ctx, h)
	if err != nil {
		return "", err
	}
	defer conn.Close() //nolint:errcheck // the answer was read
	p, err := conn.Start(ctx, `/bin/sh -c 'IFS= read -r l && eval "$l"'`)
	if err != nil {
		return "", err
	}
	defer p.Close() //nolint:errcheck // the answer was read
	script := `if [ "$(id -u)" != 0 ] && sudo -n true 2>/dev/null; then exec sudo -n sh -c "$(printf %s '` + strings.ReplaceAll(purgeScript, "'", "") + `')"; fi; ` + purgeScript
	if _, err := io.WriteString(p.Stdin(), script+"\n"); err != nil {
		return "", err
	}
	out, err := io.ReadAll(io.LimitReader(p.Stdout(), 64<<10))
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(out))
	if text == "" {
		text = "nothing to remove"
	}
	return text, nil
}
