package task

import (
	"context"
	"io"
	"time"
)

// Reader is a host that can be looked at. Nothing in it changes the host.
//
// In a plan a Reader answers as the host would look after the tasks before this
// one. What cannot be known then is an error that wraps [ErrUnknown]; a module
// passes it on and the plan says that the task is not known yet.
//
// Paths are absolute and used as they are. A thing that is not there is not an
// error: Stat answers KindNone, lookups answer nil, a unit has Exists false.
type Reader interface {
	// Facts returns what was learned about the host when the helper started.
	Facts() *Facts
	// Stat looks at path itself, not at what a symbolic link points to.
	Stat(ctx context.Context, path string) (FileInfo, error)
	// ReadFile returns the content of a regular file (symbolic links are followed)
	// of at most limit bytes; a larger file is an error.
	ReadFile(ctx context.Context, path string, limit int64) ([]byte, error)
	// ReadDir returns the names in a directory, sorted.
	ReadDir(ctx context.Context, path string) ([]string, error)
	// Digest describes the content of a regular file without keeping it: its text
	// is only there while it is short and printable.
	Digest(ctx context.Context, path string) (Content, error)
	// LookupUser returns the account or nil.
	LookupUser(ctx context.Context, name string) (*User, error)
	// LookupGroup returns the group or nil.
	LookupGroup(ctx context.Context, name string) (*Group, error)
	// Package returns the state of one package of the system's package manager.
	Package(ctx context.Context, name string) (Package, error)
	// PackagesRefreshed says when the package lists were last refreshed; the zero
	// time means never.
	PackagesRefreshed(ctx context.Context) (time.Time, error)
	// Unit returns the state of a service manager's unit.
	Unit(ctx context.Context, ref UnitRef) (Unit, error)
	// Linger reports whether the account's units run without a login.
	Linger(ctx context.Context, user string) (bool, error)
	// KernelParam returns the running value of a kernel parameter (sysctl name with
	// dots), blanks normalised to one space; ok is false when the kernel lacks it.
	KernelParam(ctx context.Context, name string) (value string, ok bool, err error)
	// Listeners returns the sockets that accept connections (TCP) or datagrams (UDP).
	Listeners(ctx context.Context) ([]Listener, error)
	// Query runs a command that changes nothing. A non-zero status is not an error.
	Query(ctx context.Context, cmd Command) (Output, error)
	// Fetch makes one HTTP request from the host.
	Fetch(ctx context.Context, req Request) (Response, error)
	// Packed says what an archive would hold if it were packed now, and what it holds.
	// An archive that is not there has an empty digest. Both digests are of what is
	// packed, before compression.
	Packed(ctx context.Context, p Pack) (want, have Content, err error)
	// Dial reports whether a TCP or Unix connection to address succeeds.
	Dial(ctx context.Context, network, address string) error
	// Connect opens a TCP connection to a port on loopback, or one to a Unix socket, for a
	// dialogue. Only the Run of an action that is not read-only may change something over it,
	// and nothing that an undo should take back. It ends with the context, and whoever asked closes it.
	Connect(ctx context.Context, network, address string) (io.ReadWriteCloser, error)
	// Resolve asks the domain name system from the host. That there is no such name, or
	// nothing of the kind, is an answer.
	Resolve(ctx context.Context, q Question) (Records, error)
	// Certificates looks at the certificates in a file, or those that a server shows.
	Certificates(ctx context.Context, s CertificateSource) (Chain, error)
	// Blob returns content that the controller holds. It costs a round trip, so
	// modules compare digests first.
	Blob(ctx context.Context, b Blob) ([]byte, error)
}

// Writer is a host that can be changed. Each method writes its inverse to the
// journal before it acts, so that a run can be taken back, and is predicted on
// an overlay in a plan, so that modules need not know which of the two they face.
type Writer interface {
	Reader
	// WriteFile creates or replaces a regular file atomically.
	WriteFile(ctx context.Context, f FileWrite) error
	// Download writes what a server sends to a file, as WriteFile would, and goes on
	// where it was cut off. Content with another checksum is never put in place.
	Download(ctx context.Context, d Download) error
	// Unpack makes a directory that holds what is in an archive, and puts it in the
	// place of one that is there as a whole.
	Unpack(ctx context.Context, u Unpack) error
	// Pack creates or replaces an archive of files and directories atomically. The
	// same content makes the same archive.
	Pack(ctx context.Context, p Pack) error
	// MakeDir makes one directory; its parent must exist.
	MakeDir(ctx context.Context, path string, mode Mode, owner, group string) error
	// MakeLink makes path a symbolic link to target, replacing a link or a file atomically.
	MakeLink(ctx context.Context, path, target string) error
	// Remove removes a file, a link, or a directory with all that is in it. What is
	// not there is no error.
	Remove(ctx context.Context, path string) error
	// SetMode changes the permission bits of a file or directory.
	SetMode(ctx context.Context, path string, mode Mode) error
	// SetOwner changes owner and group, given as names or numbers; "" leaves one alone.
	SetOwner(ctx context.Context, path, owner, group string) error
	// PutUser creates the account or changes the fields that are set.
	PutUser(ctx context.Context, u UserSpec) error
	// DeleteUser removes an account, and its home when asked.
	DeleteUser(ctx context.Context, name string, home bool) error
	// PutGroup creates the group or changes its number.
	PutGroup(ctx context.Context, g GroupSpec) error
	// DeleteGroup removes a group.
	DeleteGroup(ctx context.Context, name string) error
	// RefreshPackages refreshes the package lists.
	RefreshPackages(ctx context.Context) error
	// InstallPackages installs, upgrades or downgrades packages in one transaction.
	InstallPackages(ctx context.Context, specs []PackageSpec) error
	// RemovePackages removes packages, with their configuration when purge is set.
	RemovePackages(ctx context.Context, names []string, purge bool) error
	// SetUnit enables, disables, masks, starts or stops a unit and waits until
	// that has happened.
	SetUnit(ctx context.Context, ref UnitRef, c UnitChange) error
	// ReloadUnits makes the service manager read its unit files again.
	ReloadUnits(ctx context.Context, user string) error
	// SetLinger lets the account's units run without a login, or not.
	SetLinger(ctx context.Context, user string, on bool) error
	// SetKernelParam sets a kernel parameter in the running kernel.
	SetKernelParam(ctx context.Context, name, value string) error
	// Run runs a command that may change anything. It is opaque: a plan says
	// "will run", and the journal cannot take it back. A non-zero status is not an error.
	Run(ctx context.Context, cmd Command) (Output, error)
	// Progress tells whoever watches what a long step is doing.
	Progress(message string)
}

// FileKind is what a path is.
type FileKind string

// The kinds of files. KindNone is a path where nothing is.
const (
	KindNone  FileKind = "absent"
	KindFile  FileKind = "file"
	KindDir   FileKind = "directory"
	KindLink  FileKind = "link"
	KindOther FileKind = "other" // a socket, a device, a pipe
)

// FileInfo describes a path. Owner and Group are names, or the number in digits
// where no name is known.
type FileInfo struct {
	Kind   FileKind `json:"kind"`
	Mode   Mode     `json:"mode"`
	Owner  string   `json:"owner"`
	Group  string   `json:"group"`
	Size   int64    `json:"size"`
	Target string   `json:"target,omitempty"` // of a link
	// Modified says when the content last changed. It is zero where a plan predicts the file.
	Modified time.Time `json:"modified,omitzero"`
}

// Exists reports whether something is there.
func (f FileInfo) Exists() bool { return f.Kind != KindNone && f.Kind != "" }

// FileWrite is one whole-file write. A nil Mode and an empty Owner or Group keep
// what the file has; a new file is 0644 and belongs to the account that the task runs as.
type FileWrite struct {
	Path         string
	Data         []byte
	Mode         *Mode
	Owner, Group string
	// Secret keeps the content out of diffs, and its before-image encrypted or refused.
	Secret bool
	// Validate is a command that must exit 0. "%s" in it is the new content under
	// a temporary name beside the file; without "%s" it runs after the file was
	// replaced, and the old content is put back when it fails.
	Validate []string
}

// User is an account. Locked means that no password can log in.
type User struct {
	Name    string   `json:"name"`
	UID     int64    `json:"uid"`
	GID     int64    `json:"gid"`
	Group   string   `json:"group"`  // the name of the primary group
	Groups  []string `json:"groups"` // the other groups, sorted
	Comment string   `json:"comment"`
	Home    string   `json:"home"`
	Shell   string   `json:"shell"`
	Locked  bool     `json:"locked"`
	// PasswordDigest is [DigestOf] the password field, so that a change can be seen; never the field.
	PasswordDigest string `json:"-"`
}

// UserSpec asks for an account. Nil fields are left alone, or are the system's
// default for a new account.
type UserSpec struct {
	Name         string
	UID          *int64
	Group        *string   // primary group; must exist. A new account without one gets a group of its own name.
	Groups       *[]string // the other groups, complete
	Comment      *string
	Home         *string
	CreateHome   bool
	HomeMode     *Mode
	Shell        *string
	System       bool
	PasswordHash *string // a crypt(3) hash; "!" locks
	MoveHome     bool
}

// Group is a group of accounts.
type Group struct {
	Name    string   `json:"name"`
	GID     int64    `json:"gid"`
	Members []string `json:"members"`
}

// GroupSpec asks for a group.
type GroupSpec struct {
	Name   string
	GID    *int64
	System bool
}

// Package is the state of a package. A name that other packages merely provide is
// installed without a version. Held packages are not upgraded.
type Package struct {
	Name      string `json:"name"`
	Installed bool   `json:"installed"`
	Version   string `json:"version"`
	Held      bool   `json:"held"`
	Config    bool   `json:"config"` // removed, configuration left behind
	Broken    bool   `json:"broken"` // unpacked or half configured
}

// PackageSpec asks for a package: the newest version when Version is "" and
// Latest is set, any version when neither is, exactly Version otherwise. Lean
// leaves out what it merely recommends.
type PackageSpec struct {
	Name    string
	Version string
	Latest  bool
	Lean    bool
}

// UnitRef names a unit. User is the account whose service manager holds it, or
// "" for the system's.
type UnitRef struct {
	Name string `json:"name"` // with its suffix: ssh.service
	User string `json:"user,omitempty"`
}

// Unit is the state of a unit. Enabled follows systemctl is-enabled: "enabled",
// "disabled", "static", "masked", "indirect", "generated", "alias", …; Active
// follows ActiveState: "active", "inactive", "failed", "activating", ….
type Unit struct {
	Exists  bool   `json:"exists"`
	Enabled string `json:"enabled"`
	Active  string `json:"active"`
	Sub     string `json:"sub"`
	Masked  bool   `json:"masked"`
	// NeedReload is set when the unit's files changed since they were read.
	NeedReload bool  `json:"need_reload"`
	MainPID    int64 `json:"main_pid"`
}

// UnitAction is what to do with a unit's process.
type UnitAction string

// The actions on a unit. ReloadOrRestart reloads where the unit can, else restarts.
const (
	UnitStart           UnitAction = "start"
	UnitStop            UnitAction = "stop"
	UnitRestart         UnitAction = "restart"
	UnitReload          UnitAction = "reload"
	UnitReloadOrRestart UnitAction = "reload-or-restart"
)

// UnitChange asks for changes of a unit; nil and "" leave things alone. They
// happen in the order mask, enable, action.
type UnitChange struct {
	Mask   *bool
	Enable *bool
	Action UnitAction
}

// Listener is an open socket.
type Listener struct {
	Proto   string `json:"proto"` // tcp or udp
	Address string `json:"address"`
	Port    int64  `json:"port"`
}

// Command is a program to run. Argv[0] is looked up in the usual system folders.
// The environment is small and fixed (PATH, HOME, USER, LANG=C.UTF-8 and the
// like) plus Env; nothing of the helper's own leaks into it.
type Command struct {
	Argv  []string
	Dir   string
	Env   map[string]string
	Stdin []byte
	User  string // run as this account; "" is the account that the task runs as
	// Secrets are added to the environment and never shown. Keys are names.
	Secrets map[string]SecretText
	// MaxOutput bounds each captured stream; 0 is DefaultMaxOutput. More is cut in
	// the middle and marked.
	MaxOutput int64
	// Stream passes lines on as progress while the command runs.
	Stream bool
}

// DefaultMaxOutput is how much of each output stream is kept.
const DefaultMaxOutput = 64 << 10

// Output is what a command left.
type Output struct {
	Status    int    `json:"status"`
	Stdout    string `json:"stdout"`
	Stderr    string `json:"stderr"`
	Truncated bool   `json:"truncated,omitempty"`
}

// Request is one HTTP request. Redirects are not followed unless Redirects > 0.
type Request struct {
	Method string
	URL    string
	// Hidden is the URL when it must not be seen; URL then stands for it in messages.
	Hidden    SecretText
	Header    map[string]string
	Secrets   map[string]SecretText // header values that must not be shown
	Body      []byte
	Redirects int64
	Insecure  bool   // does not verify the server's certificate
	Socket    string // talk over this Unix socket
	Address   string // connect to this host:port; the URL still says whose certificate and site it is
	Proxy     string // go through this one, http://host:port; [ProxyFromEnv] looks at the environment
	MaxBody   int64  // 0 is 1 MiB
}

// ProxyFromEnv makes a request go through what http_proxy, https_proxy and no_proxy
// say in the environment that the helper was started in.
const ProxyFromEnv = "env"

// Response is the answer to a Request. Keys of Header are in the canonical form
// of net/textproto: Content-Type.
type Response struct {
	Status int
	Header map[string][]string
	Body   []byte
}
