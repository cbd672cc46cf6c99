package host

import (
	"context"
	"fmt"
	"os"
	"path"
	"strings"

	"holdfast/runner/journal"
)

// paramFile returns the file of a kernel parameter. As in sysctl(8), dots and
// slashes change places, so that net.ipv4.conf.eth0/1.forwarding can be written.
func (m *Machine) paramFile(name string) (string, error) {
	swap := strings.NewReplacer(".", "/", "/", ".")
	file := swap.Replace(name)
	if name == "" || strings.ContainsRune(name, 0) || path.Clean("/"+file) != "/"+file {
		return "", fmt.Errorf("cannot use %q as the name of a kernel parameter", name)
	}
	return m.sys("/proc/sys/" + file), nil
}

// KernelParam returns the running value of a kernel parameter.
func (r *reader) KernelParam(ctx context.Context, name string) (value string, ok bool, err error) {
	if err := ctx.Err(); err != nil {
		return "", false, err
	}
	file, err := r.m.paramFile(name)
	if err != nil {
		return "", false, err
	}
	b, err := os.ReadFile(file)
	if absent(err) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("cannot read the kernel parameter %s: %w", name, err)
	}
	return blanks(string(b)), true, nil
}

func blanks(s string) string { return strings.Join(strings.Fields(s), " ") }

const opParam = "kernel-param"

type paramState struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// SetKernelParam sets a kernel parameter in the running kernel.
func (w *writer) SetKernelParam(ctx context.Context, name, value string) error {
	if err := w.root(); err != nil {
		return fmt.Errorf("cannot set the kernel parameter %s: %w", name, err)
	}
	before, ok, err := w.KernelParam(ctx, name)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("cannot set the kernel parameter %s: this kernel does not have it", name)
	}
	if before == blanks(value) {
		return nil
	}
	file, err := w.m.paramFile(name)
	if err != nil {
		return err
	}
	e := journal.Entry{Op: opParam, Resource: "sysctl:" + name, Before: encode(paramState{name, before}), Want: encode(paramState{name, blanks(value)})}
	return w.change(ctx, e, func(*journal.Entry) (string, error) {
		if err := writeParam(file, value); err != nil {
			return "", fmt.Errorf("cannot set the kernel parameter %s: %w", name, err)
		}
		now, _, err := w.KernelParam(ctx, name)
		return now, err
	})
}

// writeParam writes in one call, as procfs wants it. Containers may have an
// ordinary file in the parameter's place, which must not keep its old end.
func writeParam(file, value string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value + "\n")
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
