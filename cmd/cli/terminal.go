package cli

import (
	"os"

	"holdfast/cmd/render"
)

// isTerminal reports whether results go to a terminal.
func (env *Env) isTerminal() bool {
	f, ok := env.Stdout.(*os.File)
	return ok && render.IsTerminal(f) && env.Getenv("TERM") != "dumb"
}

// canAsk reports whether there is a person to ask.
func (env *Env) canAsk() bool { return env.Stdin != nil && render.IsTerminal(env.Stdin) }

// width returns the width of the terminal, 80 where there is none.
func (env *Env) width() int {
	if f, ok := env.Stdout.(*os.File); ok {
		return render.Width(f)
	}
	return 80
}

// height returns the height of the terminal, 24 where there is none.
func (env *Env) height() int {
	if f, ok := env.Stdout.(*os.File); ok {
		return render.Height(f)
	}
	return 24
}
