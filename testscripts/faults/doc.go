// Package faults attacks the guard on real hosts: changes that cut every login,
// controllers and helpers that are killed, cables that are pulled, power that goes.
// Each test says first what must come out: the host is back by itself within the
// deadline, byte for byte, the report is true, and the next run succeeds.
//
// The tests have the build tag hosts. They need root on Linux and fail where there
// are no hosts; nothing is skipped. Clocks that jump are not among them: throwaway
// hosts share the clock of the machine. Deadlines count by a clock that nobody can
// set, see runner/guard.
package faults
