package sshconn

import (
	"fmt"
	"os"
	"strings"
)

// expander puts values in place of the tokens of ssh_config.
type expander struct {
	settings         *settings
	alias, local     string
	host, user, port string
}

// expand handles ~ and the tokens %% %d %h %n %p %r %u in the value of a
// directive; only limits them. In HostName, %h is the name that was asked for.
func (e *expander) expand(word, value, only string) (string, error) {
	fault := func(message string) error {
		if l, ok := e.settings.places[word]; ok {
			return l.fault(message)
		}
		return fmt.Errorf("cannot use %q: %s", value, message)
	}
	if strings.Contains(value, "${") {
		return "", fault("variables of the environment are not supported")
	}
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		if value[i] != '%' {
			b.WriteByte(value[i])
			continue
		}
		i++
		if i == len(value) {
			return "", fault("a % stands at the end of " + value)
		}
		token := value[i-1 : i+1]
		text, ok := e.token(token, only != "")
		if !ok || only != "" && token != only && token != "%%" {
			return "", fault("the token " + token + " is not supported")
		}
		b.WriteString(text)
	}
	if only != "" {
		return b.String(), nil
	}
	path, err := homePath(b.String())
	if err != nil {
		return "", fault(err.Error())
	}
	return path, nil
}

func (e *expander) token(token string, inHostName bool) (string, bool) {
	switch token {
	case "%%":
		return "%", true
	case "%h":
		if inHostName {
			return e.alias, true
		}
		return e.host, true
	case "%n":
		return e.alias, true
	case "%p":
		return e.port, true
	case "%r":
		return e.user, true
	case "%u":
		return e.local, true
	case "%d":
		dir, err := os.UserHomeDir()
		return dir, err == nil
	}
	return "", false
}

// files expands a list of files; none takes the place of all.
func (e *expander) files(word string, values []string, fallback string) ([]string, error) {
	if len(values) == 0 {
		values = []string{fallback}
	}
	var paths []string
	for _, v := range values {
		if strings.EqualFold(v, "none") {
			continue
		}
		path, err := e.expand(word, v, "")
		if err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}
