package history

import (
	"fmt"
	"os"
	"strings"
)

// thisProcess names this process for as long as it lives: numbers are used again, but
// not with the same start since the same boot. It is "" where /proc does not tell.
func thisProcess() string {
	start := startOf(os.Getpid())
	if start == "" {
		return ""
	}
	return fmt.Sprintf("%s %d %s", boot(), os.Getpid(), start)
}

// alive reports whether a process that named itself is at work on this machine.
func alive(name string) bool {
	var id, start string
	var pid int
	if n, _ := fmt.Sscan(name, &id, &pid, &start); n != 3 {
		return false
	}
	return id == boot() && start == startOf(pid)
}

func boot() string {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "-"
	}
	return strings.TrimSpace(string(data))
}

// startOf returns when a process started, in ticks since the boot, or "" when there is
// none that works: see proc(5), /proc/PID/stat, fields 3 and 22.
func startOf(pid int) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// The name of the program may hold anything; the fields begin behind it.
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return ""
	}
	return fields[19]
}
