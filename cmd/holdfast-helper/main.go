// Holdfast-helper is the program that is pushed to targets. It holds the helper and
// the modules and nothing else.
package main

import (
	"context"
	"fmt"
	"os"
	"runtime"

	"holdfast/runner/helper"
	"holdfast/tasks"
)

// init keeps the main thread for the main goroutine. A thread that took the rights of an
// account is thrown away after that, but for the main one: it stays, and the whole process
// then counts as the account's in /proc, so that a run which deletes the account finds
// itself among the processes that the account still has.
func init() { runtime.LockOSThread() }

func main() {
	if len(os.Args) == 3 && os.Args[1] == "guard" {
		if err := helper.Guard(context.Background(), helper.Options{Modules: tasks.All(), StateDir: os.Args[2]}); err != nil {
			fmt.Fprintln(os.Stderr, "holdfast-helper:", err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) != 2 || os.Args[1] != "serve" {
		fmt.Fprintln(os.Stderr, "holdfast-helper: this program is started by holdfast, over SSH")
		os.Exit(3)
	}
	if err := helper.Serve(context.Background(), helper.Options{Modules: tasks.All(), In: os.Stdin, Out: os.Stdout}); err != nil {
		fmt.Fprintln(os.Stderr, "holdfast-helper:", err)
		os.Exit(1)
	}
}
