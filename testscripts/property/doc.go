// Package property holds a test that plays random programs against a real helper and
// breaks something at a random moment: the process is killed, the connection ends, the
// disk is full, the last line of the journal is torn, somebody else writes.
//
// Whatever happens, the host is as it was before a task or as it is after it, never
// between; the journal explains every difference, so that an undo gives back what was
// there; and the next run brings about what the program asks for.
//
// A failure prints its seed; HOLDFAST_SEED plays that one again. HOLDFAST_PROPERTY says
// how long the test plays, such as 5m.
package property
