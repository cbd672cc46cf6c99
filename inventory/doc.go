// Package inventory reads fleets: which hosts there are, how they are reached and
// which values they have for the parameters of playbooks.
//
// # The file
//
// A fleet is a YAML file, or a folder of which every *.yml and *.yaml is read as if
// they were one file. All keys are optional.
//
//	ssh:                              # how hosts are reached; for every host
//	  users: [adminclaw, ubuntu, root]  # tried in this order
//	  ports: [222, 22]                  # tried in this order
//	  jump: [bastion]                   # hosts to go through, the first one first
//	  keys: [~/.ssh/id_ed25519]         # private keys
//	  known_hosts: known_hosts          # file of host keys
//	  agent: true                       # ask the SSH agent
//	  config: none                      # an OpenSSH client file, or none
//	  connect_timeout: 10s
//	sudo: {method: auto, password: env:SUDO_PASSWORD}
//	vars: {timezone: UTC}             # for every host
//	hosts:
//	  web1: {address: 203.0.113.5, labels: {role: gateway}, vars: {ssh_port: 222}, groups: [eu]}
//	  "db[01:03].example.org": {}     # db01, db02 and db03
//	  here: {connection: local}       # this machine, without SSH
//	groups:
//	  eu: {hosts: [web1, "db*"], vars: {timezone: Europe/Berlin}, labels: {region: eu}}
//	  gateways: {select: 'host.labels.role == "gateway"'}
//	  everything: {groups: [eu, gateways]}
//
// # Hosts
//
// A host has address (its name when absent), connection (ssh or local), labels, vars,
// groups, ssh and sudo. A name consists of letters, digits, ".", "-" and "_", or is an IP
// address. A name with a range in brackets, of numbers or of single letters, stands for
// that many hosts; numbers keep their leading zeros. Each host is defined once. Hosts
// keep the order of the file everywhere.
//
// # Groups
//
// A group has members by name, range or glob (hosts), by other groups (groups) or by a
// CEL expression over each host (select), and hosts may name their groups themselves.
// An expression sees the labels and the groups that a host has without any selection;
// therefore a group with a selection in it gives no labels. The name all means every
// host and is not defined. A host and a group do not share a name.
//
// # Which value counts
//
// For each var, each label and each single setting of ssh and sudo: the host's own, then
// that of its groups, then the one at the top of the file. A group inside another counts
// before the outer one. When two groups, neither inside the other, give a host different
// values, that is a fault that shows both places, unless the host or a group inside
// both says which. Values are taken whole; lists and mappings are not merged.
//
// A host that stands in a jump list which it did not write itself is reached through
// the hosts before it in that list. The password of sudo is a reference, secret:NAME, env:NAME
// or file:/path, which the connection follows; it is never the password.
//
// # Choosing hosts
//
// [Inventory.Select] takes patterns separated by commas: names, ranges, globs, groups, all,
// and CEL expressions. What matches any pattern is chosen; &pattern keeps only those
// that match it too, !pattern takes away. A pattern that matches nothing is a fault.
package inventory
