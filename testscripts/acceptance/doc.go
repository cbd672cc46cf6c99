// Package acceptance holds the program to its promises: the program as it is shipped,
// started as people start it, on throwaway hosts with systemd, dpkg and OpenSSH of
// their own. What it says is judged by looking at the hosts from outside, through
// their consoles.
//
// The tests have the build tag hosts. They need root on Linux and fail where there
// are no hosts; nothing is skipped.
package acceptance
