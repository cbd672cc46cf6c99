//go:build hosts && judges && releases

package acceptance_test

// judgedElsewhere are the hosts of other releases, which are judged on request.
var judgedElsewhere = []judgedHost{
	{name: "next", suite: "trixie", index: 89, policy: "Hardened OpenSSH Server v9.9 (version 1)", docker: true, undo: true},
	{name: "noble", suite: "noble", index: 89, policy: "Hardened Ubuntu Server 24.04 LTS (version 1)", undo: true},
	{name: "jammy", suite: "jammy", index: 89, policy: "Hardened Ubuntu Server 22.04 LTS (version 6)", undo: true},
}
