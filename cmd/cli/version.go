package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"holdfast/runner/wire"
)

// release is set by the linker in release builds.
var release string

// version returns the release, or what the build knows of its source.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "devel"
	}
	return info.Main.Version
}

func newVersionCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Show the version, and which helpers this build can push",
		Example: "  holdfast version",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			fmt.Fprintf(env.Stdout, "holdfast %s (%s/%s, %s), protocol %d to %d\n", version(), runtime.GOOS, runtime.GOARCH, runtime.Version(), wire.MinProtocol, wire.MaxProtocol)
			bins, err := binaries()
			if err != nil {
				return err
			}
			for _, b := range bins {
				fmt.Fprintf(env.Stdout, "helper for %s: %d bytes, sha256 %s\n", b.Platform, b.Size, b.Hash)
			}
			return nil
		},
	}
}
