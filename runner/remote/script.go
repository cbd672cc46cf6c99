package remote

import (
	"fmt"
	"strings"
)

// starter is the command that is given to the login shell. It has only words that
// every shell reads alike; what it runs comes as a line on its input, so that no
// quoting rule of any shell matters. The read of a POSIX shell takes single bytes
// from a pipe, so nothing behind the line is lost.
const starter = `exec /bin/sh -c 'IFS= read -r l && eval "$l"'`

// machines maps uname -m to the platforms that there are helpers for.
var machines = map[string]string{"x86_64": "linux/amd64", "aarch64": "linux/arm64"}

// The words with which our lines begin. A nonce follows each.
const (
	wordPassword = "HOLDFAST-PASSWORD" // sudo's prompt, on stderr
	wordFree     = "HOLDFAST-FREE"     // no password is wanted, or it was right
	wordPush     = "HOLDFAST-PUSH"
	wordPlatform = "HOLDFAST-PLATFORM"
	wordNoPlace  = "HOLDFAST-NOPLACE"
	wordDamaged  = "HOLDFAST-DAMAGED"
	wordBegin    = "HOLDFAST-BEGIN" // what follows is the program's output
)

// elevate returns the first line of the talk: it becomes root if wanted, and
// leaves a shell that waits for the second line with the connection's addresses in $1.
func elevate(root Root, nonce string) string {
	wait := `/bin/sh -c 'IFS= read -r l && eval "$l"' sh "$SSH_CONNECTION"`
	if !root.Want {
		return "exec " + wait
	}
	sudo := "exec sudo -n -- " + wait
	if root.Password != nil {
		sudo = fmt.Sprintf("if sudo -n true 2>/dev/null; then echo; echo HOLDFAST-FREE %[1]s; exec sudo -n -- %[2]s; else exec sudo -S -p 'HOLDFAST-PASSWORD %[1]s' -- /bin/sh -c 'echo; echo HOLDFAST-FREE %[1]s; IFS= read -r l && eval \"$l\"' sh \"$SSH_CONNECTION\"; fi", nonce, wait)
	}
	return fmt.Sprintf(`if [ "$(id -u)" = 0 ]; then %sexec %s; else %s; fi`, free(root, nonce), wait, sudo)
}

func free(root Root, nonce string) string {
	if root.Password == nil {
		return ""
	}
	return "echo; echo HOLDFAST-FREE " + nonce + "; "
}

// locate returns the second line: it runs the helper that is there, if its hash is
// right, or says which platform it needs, reads the helper, checks it and runs it.
//
// Some of the places are open to everybody, so a folder counts only when it is ours
// and no link: nobody else can put anything into it or something else in its place.
func locate(bins Binaries, nonce string) string {
	var b strings.Builder
	b.WriteString(`umask 077; m=$(uname -s)/$(uname -m); case $m in `)
	for machine, platform := range machines {
		for _, bin := range bins {
			if bin.Platform == platform {
				fmt.Fprintf(&b, `Linux/%s) s=%s; n=%s; a='%s';; `, machine, bin.Hash, bin.Name, bin.Args)
			}
		}
	}
	fmt.Fprintf(&b, `*) echo; echo HOLDFAST-PLATFORM %s "$m"; exit 3;; esac; h=$(printf %%.16s $s); `, nonce)
	b.WriteString(`export HOLDFAST_LOGIN="$1"; if [ "$(id -u)" = 0 ]; then set -- /var/cache /var/lib /run /dev/shm; else set -- "$HOME/.cache" "/run/user/$(id -u)" /var/tmp /dev/shm; fi; `)
	b.WriteString(`own() { [ -O "$1" ] && ! [ -h "$1" ]; }; `)
	b.WriteString(`for d; do p="$d/holdfast/$h/$n"; if own "$d/holdfast" && own "$d/holdfast/$h" && [ -x "$p" ] && own "$p"; then x=$(sha256sum <"$p"); if [ "${x%% *}" = "$s" ]; then exec "$p" $a; fi; rm -f "$p"; fi; done; `)
	b.WriteString(`g=; w=; for d; do t="$d/holdfast/$h"; if ! [ -h "$d/holdfast" ] && mkdir -p "$t" 2>/dev/null && own "$d/holdfast" && own "$t" && chmod 700 "$d/holdfast" "$t" && printf '#!/bin/sh\nexit 0\n' 2>/dev/null >"$t/.try$$" && chmod 700 "$t/.try$$"; then if "$t/.try$$" 2>/dev/null; then rm -f "$t/.try$$"; g=$t; break; fi; w="$w $d (noexec)"; else w="$w $d (not writable)"; fi; if own "$t"; then rm -f "$t/.try$$"; rmdir "$t" "$d/holdfast" 2>/dev/null; fi; done; `)
	fmt.Fprintf(&b, `if [ -z "$g" ]; then echo; echo HOLDFAST-NOPLACE %[1]s "$w"; exit 3; fi; echo; echo HOLDFAST-PUSH %[1]s "$m" "$g/$n"; `, nonce)
	b.WriteString(`IFS= read -r z && head -c "$z" | gzip -dc >"$g/.new.$$" 2>/dev/null; x=$(sha256sum <"$g/.new.$$"); `)
	fmt.Fprintf(&b, `if [ "${x%%%% *}" != "$s" ]; then f=$(df -Pk "$g" | awk 'NR==2{print $4}'); rm -f "$g/.new.$$"; echo; echo HOLDFAST-DAMAGED %s "$f"; exit 3; fi; `, nonce)
	b.WriteString(`chmod 700 "$g/.new.$$" && mv -f "$g/.new.$$" "$g/$n" && exec "$g/$n" $a`)
	return b.String()
}

// tied returns a second line that runs a program, which ends at the latest when its
// input does: a connection without a terminal that goes away sends no signal.
func tied(argv []string, nonce string) string {
	var words []string
	for _, w := range argv {
		words = append(words, "'"+strings.ReplaceAll(w, "'", `'\''`)+"'")
	}
	return "echo; echo " + wordBegin + " " + nonce + "; exec " + strings.Join(words, " ") + " </dev/null & j=$!; " +
		`exec 3<&0; { while IFS= read -r l; do :; done; kill $j; } <&3 >/dev/null 2>&1 & w=$!; wait $j; s=$?; kill $w 2>/dev/null; exit $s`
}
