//go:build hosts && judges && !releases

package acceptance_test

// judgedElsewhere are the hosts of other releases: make judges has them.
var judgedElsewhere []judgedHost
