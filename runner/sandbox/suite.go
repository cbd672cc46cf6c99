package sandbox

import (
	"fmt"
	"runtime"
	"strings"
)

// suite is a release of a distribution that hosts can run.
type suite struct {
	code    string // as the archive names it
	distro  string // "debian" or "ubuntu"
	version string
}

var suites = []suite{
	{code: "bookworm", distro: "debian", version: "12"},
	{code: "trixie", distro: "debian", version: "13"},
	{code: "jammy", distro: "ubuntu", version: "22.04"},
	{code: "noble", distro: "ubuntu", version: "24.04"},
	{code: "resolute", distro: "ubuntu", version: "26.04"},
}

// findSuite takes a code name, or a distribution and its version.
func findSuite(name string) (suite, error) {
	var known []string
	for _, st := range suites {
		if name == st.code || name == st.distro+"-"+st.version || name == st.distro+st.version {
			return st, nil
		}
		known = append(known, fmt.Sprintf("%s (%s-%s)", st.code, st.distro, st.version))
	}
	return suite{}, fmt.Errorf("cannot make hosts of %q: want one of %s", name, strings.Join(known, ", "))
}

// account is the ordinary account that cloud images of the distribution have.
func (st suite) account() string { return st.distro }

// keyring is where the distribution's own package keeps the archive's keys.
func (st suite) keyring() string {
	return "/usr/share/keyrings/" + st.distro + "-archive-keyring.gpg"
}

// ownKey is the key of the archive that we bring along for machines where no
// package has it: Debian does not package Ubuntu's. Its fingerprint is
// F6EC B376 2474 EDA9 D21B 7022 8719 20D1 991B C93C.
func (st suite) ownKey() []byte {
	if st.distro != "ubuntu" {
		return nil
	}
	return script("ubuntu-archive-2018.asc")
}

// components of the archive that are part of the distribution itself.
func (st suite) components() []string {
	if st.distro == "ubuntu" {
		return []string{"main", "restricted", "universe", "multiverse"}
	}
	return []string{"main", "contrib", "non-free", "non-free-firmware"}
}

// pockets are the suites that make up a release, the release itself first.
func (st suite) pockets() []string {
	return []string{st.code, st.code + "-updates", st.code + "-security"}
}

// sources are where the distribution is fetched from when this machine does not
// know a place of its own.
func (st suite) sources() []source {
	if st.distro == "debian" {
		return []source{
			{uri: "http://deb.debian.org/debian", suite: st.code, components: []string{"main"}, signedBy: st.keyring()},
			{uri: "http://deb.debian.org/debian", suite: st.code + "-updates", components: []string{"main"}, signedBy: st.keyring()},
			{uri: "http://deb.debian.org/debian-security", suite: st.code + "-security", components: []string{"main"}, signedBy: st.keyring()},
		}
	}
	archive, security := "http://archive.ubuntu.com/ubuntu", "http://security.ubuntu.com/ubuntu"
	if runtime.GOARCH != "amd64" {
		archive, security = "http://ports.ubuntu.com/ubuntu-ports", "http://ports.ubuntu.com/ubuntu-ports"
	}
	var list []source
	for _, pocket := range st.pockets() {
		uri := archive
		if strings.HasSuffix(pocket, "-security") {
			uri = security
		}
		list = append(list, source{uri: uri, suite: pocket, components: []string{"main", "universe"}, signedBy: st.keyring()})
	}
	return list
}

// packages are what a base has beyond the essential set: about what the smallest
// cloud images have. Those have Python, for cloud-init and for unattended upgrades,
// which takes longest of all to install.
func (st suite) packages() []string {
	// What is essential on Ubuntu does not include apt.
	own := []string{"debian-archive-keyring"}
	if st.distro == "ubuntu" {
		own = []string{"ubuntu-keyring", "apt"}
	}
	return append([]string{
		"systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd", "openssh-server", "sudo", "iproute2",
		"iputils-ping", "ca-certificates", "curl", "cron", "netbase", "procps", "kmod",
		"python3", "python3-apt", "python3-dbus", "python3-distro-info", "lsb-release", "xz-utils", "nftables",
	}, own...)
}
