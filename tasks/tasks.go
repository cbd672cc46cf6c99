// Package tasks lists the task modules. Each has a folder of its own here.
package tasks

import (
	"slices"
	"strings"

	"holdfast/tasks/alert"
	aptrepository "holdfast/tasks/apt_repository"
	"holdfast/tasks/archive"
	"holdfast/tasks/assert"
	authorizedkeys "holdfast/tasks/authorized_keys"
	"holdfast/tasks/block"
	"holdfast/tasks/command"
	"holdfast/tasks/copy"
	"holdfast/tasks/directory"
	"holdfast/tasks/dns"
	"holdfast/tasks/download"
	envfile "holdfast/tasks/env_file"
	"holdfast/tasks/file"
	"holdfast/tasks/finding"
	"holdfast/tasks/git"
	"holdfast/tasks/group"
	"holdfast/tasks/http"
	"holdfast/tasks/json"
	"holdfast/tasks/line"
	"holdfast/tasks/link"
	"holdfast/tasks/listening"
	"holdfast/tasks/node"
	npmglobal "holdfast/tasks/npm_global"
	openclawchat "holdfast/tasks/openclaw_chat"
	openclawdevice "holdfast/tasks/openclaw_device"
	openclawhealth "holdfast/tasks/openclaw_health"
	openclawpush "holdfast/tasks/openclaw_push"
	openclawreload "holdfast/tasks/openclaw_reload"
	packages "holdfast/tasks/package"
	randomsecret "holdfast/tasks/random_secret"
	"holdfast/tasks/reboot"
	"holdfast/tasks/restic"
	"holdfast/tasks/script"
	"holdfast/tasks/service"
	"holdfast/tasks/sshd"
	"holdfast/tasks/stat"
	"holdfast/tasks/sudoers"
	"holdfast/tasks/sysctl"
	"holdfast/tasks/task"
	"holdfast/tasks/template"
	"holdfast/tasks/timer"
	tlscert "holdfast/tasks/tls_cert"
	"holdfast/tasks/ufw"
	"holdfast/tasks/unarchive"
	"holdfast/tasks/unit"
	"holdfast/tasks/user"
	"holdfast/tasks/wait"
)

// All returns every module, sorted by name. The helper that is sent has those alone
// that work on hosts.
func All() []*task.Module {
	all := append(onHosts(), onController()...)
	slices.SortFunc(all, func(a, b *task.Module) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// onHosts are the modules that may work on a host.
func onHosts() []*task.Module {
	return []*task.Module{
		alert.Module,
		aptrepository.Module,
		archive.Module,
		assert.Module,
		authorizedkeys.Module,
		block.Module,
		command.Module,
		copy.Module,
		directory.Module,
		dns.Module,
		download.Module,
		envfile.Module,
		file.Module,
		finding.Module,
		git.Module,
		group.Module,
		http.Module,
		json.Module,
		line.Module,
		link.Module,
		listening.Module,
		node.Module,
		npmglobal.Module,
		openclawchat.Module,
		openclawdevice.Module,
		openclawhealth.Module,
		openclawpush.Module,
		openclawreload.Module,
		packages.Module,
		randomsecret.Module,
		reboot.Module,
		restic.Module,
		script.Module,
		service.Module,
		sshd.Module,
		stat.Module,
		sudoers.Module,
		sysctl.Module,
		template.Module,
		timer.Module,
		tlscert.Module,
		ufw.Module,
		unarchive.Module,
		unit.Module,
		user.Module,
		wait.Module,
	}
}
