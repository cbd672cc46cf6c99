// Holdfast runs typed playbooks on fleets of Linux servers over SSH.
package main

import (
	"os"

	"holdfast/cmd/cli"
)

func main() { os.Exit(cli.Main(cli.SystemEnv())) }
