package local

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// members returns the living processes of a session whose leader has been
// waited for; where there is no /proc, the leader's process group as one
// negative number.
//
// The kernel gives the leader's number to nobody while its session has members.
// If a process has that number, the session is empty and the process a stranger.
func members(session int) []int {
	if err := syscall.Kill(session, 0); !errors.Is(err, syscall.ESRCH) {
		return nil
	}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(stats) == 0 {
		if syscall.Kill(-session, 0) == nil {
			return []int{-session}
		}
		return nil
	}
	var pids []int
	for _, name := range stats {
		if pid, ok := memberOf(name, session); ok {
			pids = append(pids, pid)
		}
	}
	return pids
}

// memberOf reads one /proc/PID/stat: "PID (NAME) STATE PPID PGRP SESSION …",
// where NAME may hold anything.
func memberOf(name string, session int) (pid int, ok bool) {
	text, err := os.ReadFile(name)
	if err != nil {
		return 0, false
	}
	end := bytes.LastIndexByte(text, ')')
	start := bytes.IndexByte(text, ' ')
	if end < 0 || start < 0 {
		return 0, false
	}
	fields := bytes.Fields(text[end+1:])
	if len(fields) < 4 || string(fields[0]) == "Z" || string(fields[3]) != strconv.Itoa(session) {
		return 0, false
	}
	pid, err = strconv.Atoi(string(text[:start]))
	return pid, err == nil
}
