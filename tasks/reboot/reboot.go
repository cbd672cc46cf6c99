// Package reboot reboots a host.
package reboot

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"

	"holdfast/tasks/task"
)

//go:embed doc.md
var doc string

// Params is what a playbook asks for.
type Params struct {
	OnlyIfNeeded bool   `yaml:"only_if_needed" default:"false" doc:"Whether nothing is done unless the system asks for a reboot, as after an update of the kernel."`
	Delay        int64  `yaml:"delay" default:"3" validate:"min=1,max=600" doc:"After how many seconds it goes down, in which the connection ends in good order."`
	Message      string `yaml:"message" default:"holdfast reboots this host" doc:"What people who are logged in are told."`
}

// Result is what was known before.
type Result struct {
	BootID string `yaml:"boot_id" json:"boot_id" doc:"The boot that ended."`
	Reason string `yaml:"reason" json:"reason" doc:"The packages that asked for it, if any did."`
}

// needed is there when a package wants a reboot (update-notifier and needrestart make it
// on Debian and Ubuntu), and the second file names which.
const (
	needed   = "/run/reboot-required"
	packages = "/run/reboot-required.pkgs"
	unit     = "holdfast-reboot"
)

// Module reboots.
var Module = task.NewAction(task.ActionDef[Params, Result]{
	Name: "reboot", Doc: doc, Reboots: true,
	Validate: validate,
	Resource: func(Params) string { return unit },
	Skip:     skip,
	Run:      run,
	Undo:     func(context.Context, task.Writer, Params, Result) error { return nil }, // a host that runs is as before
})

func validate(p Params) error {
	if strings.ContainsAny(p.Message, "\n\x00") {
		return task.FieldErrorf("message", "want one line")
	}
	return nil
}

func skip(ctx context.Context, r task.Reader, p Params) (string, error) {
	if !p.OnlyIfNeeded {
		return "", nil
	}
	info, err := r.Stat(ctx, needed)
	if err != nil || info.Exists() {
		return "", err
	}
	return "the system does not ask for a reboot", nil
}

func run(ctx context.Context, w task.Writer, p Params) (Result, error) {
	facts := w.Facts()
	result := Result{BootID: facts.BootID}
	if facts.Init != "systemd" {
		return result, fmt.Errorf("cannot start %s: process 1 is %s, not systemd", unit, facts.Init)
	}
	if facts.BootID == "" {
		return result, errors.New("cannot start " + unit + ": the host has no boot id, so nobody could tell when it is back")
	}
	info, err := w.Stat(ctx, packages)
	if err != nil {
		return result, err
	}
	if info.Exists() {
		data, err := w.ReadFile(ctx, packages, 64<<10)
		if err != nil {
			return result, err
		}
		result.Reason = strings.Join(strings.Fields(string(data)), " ")
	}
	out, err := w.Run(ctx, task.Command{Argv: []string{
		"systemd-run", "--quiet", "--collect", "--unit=" + unit, fmt.Sprintf("--on-active=%d", p.Delay), "--timer-property=AccuracySec=100ms",
		"systemctl", "reboot", "--message=" + p.Message,
	}})
	if err == nil && out.Status != 0 {
		err = fmt.Errorf("cannot start %s: systemd-run exits %d: %s", unit, out.Status, strings.TrimSpace(out.Stderr))
	}
	return result, err
}
