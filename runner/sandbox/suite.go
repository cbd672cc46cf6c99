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

// keyringPackage brings the keyring to a machine that runs something else.
func (st suite) keyringPackage() string {
	if st.distro == "ubuntu" {
		return "ubuntu-archive-keyring"
	}
	return "debian-archive-keyring"
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
// cloud images have.
func (st suite) packages() []string {
	return []string{
		"systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd", "openssh-server", "sudo", "iproute2",
		"iputils-ping", "ca-certificates", "curl", "cron", "netbase", "procps", "kmod", st.keyringPackageInside(),
	}
}

// keyringPackageInside is the keyring's package as the distribution itself calls it.
func (st suite) keyringPackageInside() string {
	if st.distro == "ubuntu" {
		return "ubuntu-keyring"
	}
	return "debian-archive-keyring"
}
