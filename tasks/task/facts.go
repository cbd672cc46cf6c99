package task

// Facts is what the helper learns about a host when it starts, from files and
// system calls alone. Expressions read it as facts.
type Facts struct {
	Hostname  string   `yaml:"hostname" json:"hostname" doc:"The kernel's host name."`
	OS        OS       `yaml:"os" json:"os" doc:"The distribution."`
	Kernel    string   `yaml:"kernel" json:"kernel" doc:"Release of the running kernel."`
	Arch      string   `yaml:"arch" json:"arch" doc:"Architecture as Go names it: amd64, arm64."`
	CPUs      int64    `yaml:"cpus" json:"cpus" doc:"Processors that may be used."`
	MemoryMB  int64    `yaml:"memory_mb" json:"memory_mb" doc:"Memory in MiB."`
	Init      string   `yaml:"init" json:"init" doc:"Name of process 1: systemd, or another."`
	Virtual   string   `yaml:"virtual" json:"virtual" doc:"Kind of container or machine, or empty."`
	Addresses []string `yaml:"addresses" json:"addresses" doc:"Addresses of the host, without loopback."`
	BootID    string   `yaml:"boot_id" json:"boot_id" doc:"Changes with every boot."`
	MachineID string   `yaml:"machine_id" json:"machine_id" doc:"Stays the same for an installation."`
	User      string   `yaml:"user" json:"user" doc:"The account that the helper runs as."`
	UID       int64    `yaml:"uid" json:"uid" doc:"Its number; 0 is root."`
	Login     Login    `yaml:"login" json:"login" doc:"The connection that the helper serves."`
	Packages  string   `yaml:"packages" json:"packages" doc:"Package manager: apt, or empty."`
}

// OS describes a distribution by /etc/os-release (os-release(5)).
type OS struct {
	ID       string `yaml:"id" json:"id" doc:"ID: debian, ubuntu."`
	Version  string `yaml:"version" json:"version" doc:"VERSION_ID: 12, 24.04."`
	Codename string `yaml:"codename" json:"codename" doc:"VERSION_CODENAME: bookworm."`
	Name     string `yaml:"name" json:"name" doc:"PRETTY_NAME."`
	Like     string `yaml:"like" json:"like" doc:"ID_LIKE."`
}

// Login describes the SSH connection behind a helper, by SSH_CONNECTION.
type Login struct {
	User       string `yaml:"user" json:"user" doc:"Who logged in, before sudo."`
	PeerAddr   string `yaml:"peer_addr" json:"peer_addr" doc:"Address of the controller as the host sees it."`
	PeerPort   int64  `yaml:"peer_port" json:"peer_port" doc:"Port of the controller."`
	ServerAddr string `yaml:"server_addr" json:"server_addr" doc:"Address of the host that was connected to."`
	ServerPort int64  `yaml:"server_port" json:"server_port" doc:"Port of the SSH server."`
	// Key is the fingerprint of the key that logged in, SHA256:…, or empty when nobody knows.
	Key string `yaml:"-" json:"-"`
	// Ways are what a guard says has to stay open; none means the connection itself.
	Ways []Way `yaml:"-" json:"-"`
}
