package cli

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/cmd/render"
	"holdfast/inventory"
	"holdfast/playbooks"
	"holdfast/playbooks/source"
	"holdfast/playbooks/source/yamlfile"
	"holdfast/runner"
	"holdfast/runner/event"
	"holdfast/runner/helperbin"
	"holdfast/runner/load"
	"holdfast/runner/local"
	"holdfast/runner/remote"
	"holdfast/tasks"
)

// playOptions are the flags of every command that runs or checks a playbook.
type playOptions struct {
	env    *Env
	fleet  *fleet
	output output
	params []string
	files  []string
	tags   []string
	forks  int
	noRoot bool

	reattach time.Duration
	detach   bool

	name    string     // of the playbook, as given
	read    []specFile // the files of parameters
	resumes string     // the run that this one goes on with

	// reader reads the events instead of what the flags about output ask for.
	reader render.Renderer
}

func newPlayOptions(env *Env) *playOptions { return &playOptions{env: env, fleet: env.fleet()} }

func (o *playOptions) flags(cmd *cobra.Command) {
	o.output.flags(cmd)
	o.choices(cmd)
	cmd.ValidArgsFunction = o.env.completePlaybooks
}

// choices are the flags that say what is run where.
func (o *playOptions) choices(cmd *cobra.Command) {
	o.fleet.flags(cmd)
	cmd.Flags().StringArrayVarP(&o.params, "param", "p", nil, "value of a parameter: -p name=value; lists and mappings as in YAML")
	cmd.Flags().StringArrayVar(&o.files, "params", nil, "YAML file with values of parameters")
	cmd.Flags().StringArrayVar(&o.tags, "tags", nil, "only tasks with one of these tags")
	cmd.Flags().IntVarP(&o.forks, "forks", "f", runner.DefaultForks, "hosts to work on at a time")
	cmd.Flags().BoolVar(&o.noRoot, "no-root", false, "stay the account that logs in instead of becoming root")
}

// outliving adds the flags of what may outlive its connection.
func (o *playOptions) outliving(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&o.reattach, "reattach", 5*time.Minute, "how long a host waits between two tasks for a connection that was lost; 0 ends the run there")
	cmd.Flags().BoolVar(&o.detach, "detach", false, "ship the whole run and leave: hosts finish it alone")
}

// completePlaybooks offers the names of playbooks.
func (env *Env) completePlaybooks(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, info := range env.finder().List() {
		out = append(out, info.Name+"\t"+info.Summary)
	}
	return out, cobra.ShellCompDirectiveDefault
}

func (env *Env) finder() playbooks.Finder {
	f := playbooks.Finder{Project: env.Dir, Modules: moduleNames()}
	// Faults name files as a person in this folder would.
	if here, err := os.Getwd(); err == nil && here == env.Dir {
		f.Project = "."
	}
	if dir := env.userDir("XDG_CONFIG_HOME", ".config"); dir != "" {
		f.User = dir + "/playbooks"
	}
	return f
}

func moduleNames() []string {
	var out []string
	for _, m := range tasks.All() {
		out = append(out, m.Name)
	}
	return out
}

// load reads and checks everything without contacting a host. It returns all
// faults that there are.
func (o *playOptions) load(name string) (*load.Playbook, []*load.Host, []*inventory.Host, *load.Blobs, error) {
	o.name = name
	finder := o.env.finder()
	pb, faults := finder.Find(name)
	if pb == nil {
		return nil, nil, nil, nil, faults.Err()
	}
	params, found := o.readParams()
	faults = append(faults, found...)
	hosts, found := o.fleet.hosts()
	faults = append(faults, found...)
	compiled, found := load.Compile(pb, load.Options{Modules: tasks.All(), Find: finder.Find, Secret: o.fleet.vault().Known, Given: given(params, hosts),
		Version: strings.TrimPrefix(version(), "v"), Tags: splitAll(o.tags)})
	faults = append(faults, found...)
	blobs := load.NewBlobs()
	var bound []*load.Host
	if len(faults) == 0 {
		if err := o.fleet.vault().Unlock(); err != nil {
			return nil, nil, nil, nil, err
		}
		bound, faults = load.Bind(compiled, hosts, load.BindOptions{Params: params, Secret: o.fleet.secret, Blobs: blobs})
	} else if compiled != nil && hosts != nil {
		// What each host adds is worth knowing even when the playbook has faults.
		_, found = load.Bind(compiled, hosts, load.BindOptions{Params: params, Blobs: blobs})
		faults = append(faults, found...)
	}
	return compiled, bound, hosts, blobs, faults.Err()
}

// given tells of a parameter whether the command line or the inventory has a value for it.
func given(params map[string]*source.Node, hosts []*inventory.Host) func(param string) bool {
	return func(param string) bool {
		return params[param] != nil || slices.ContainsFunc(hosts, func(h *inventory.Host) bool {
			_, ok := h.Vars[param]
			return ok
		})
	}
}

func splitAll(list []string) []string {
	var out []string
	for _, s := range list {
		out = append(out, strings.Split(s, ",")...)
	}
	return out
}

// readParams reads -p and --params; -p counts more.
func (o *playOptions) readParams() (map[string]*source.Node, source.Faults) {
	out := map[string]*source.Node{}
	faults := o.readFiles()
	for _, file := range o.read {
		root, found := yamlfile.Parse(file.Name, []byte(file.Text))
		faults = append(faults, found...)
		if root == nil {
			continue
		}
		if root.Kind != source.Map {
			faults.Addf(root.Pos, "", "want a mapping from parameter to value, got %s", root.Kind)
			continue
		}
		for _, e := range root.Entries {
			out[e.Key.Text] = e.Value
		}
	}
	for _, flag := range o.params {
		name, n, fault := load.ParseFlag(flag, yamlfile.Parse)
		if fault != nil {
			faults.Add(fault)
			continue
		}
		out[name] = n
	}
	return out, faults
}

// readFiles reads the files of parameters once: a run that goes on with this one is to
// have the same.
func (o *playOptions) readFiles() source.Faults {
	var faults source.Faults
	for _, name := range o.files {
		data, err := os.ReadFile(o.env.path(name))
		if err != nil {
			var at *fs.PathError
			if errors.As(err, &at) {
				err = at.Err // the file is named already
			}
			faults.Addf(source.Pos{File: name}, "", "cannot read the parameters: %s", err)
			continue
		}
		o.read = append(o.read, specFile{name, string(data)})
	}
	o.files = nil
	return faults
}

// run checks the playbook and runs it in a mode.
func (o *playOptions) run(ctx context.Context, name string, mode event.Mode) (event.RunFinished, error) {
	pb, bound, hosts, blobs, err := o.load(name)
	if err != nil {
		return event.RunFinished{}, err
	}
	return o.engine(ctx, runner.Options{Mode: mode, Playbook: pb, Bound: bound, Hosts: hosts, Blobs: blobs})
}

// engine runs the engine with the renderer that the flags ask for.
func (o *playOptions) engine(ctx context.Context, opts runner.Options) (event.RunFinished, error) {
	r, err := o.reader, error(nil)
	if r == nil {
		r, err = o.env.renderer(o.output)
	}
	if err != nil {
		return event.RunFinished{}, err
	}
	bins, err := helperbin.All(opts.Playbook != nil && opts.Playbook.TLS())
	if err != nil {
		return event.RunFinished{}, err
	}
	near := bins
	if opts.Playbook != nil && opts.Playbook.Controller() {
		if near, err = helperbin.Self(); err != nil {
			return event.RunFinished{}, err
		}
	}
	opts.ID = runner.NewID(o.env.Now())
	opts.Connect, opts.Session = o.fleet.connect, o.fleet.session(bins, !o.noRoot)
	opts.ConnectPath = o.fleet.connectPath
	opts.Near = func(context.Context) (remote.Conn, remote.Options, error) {
		return local.New("controller", 0), remote.Options{Binaries: near}, nil
	}
	opts.Reattach, opts.Detach = o.reattach, o.detach
	opts.Forks, opts.Diff, opts.Stop = o.forks, o.output.diff, o.env.stop
	opts.User, opts.Controller = o.env.whoami()
	opts.Command = "holdfast " + strings.Join(o.env.Args[:min(2, len(o.env.Args))], " ") // not the params: they may be telling
	kept := o.recorder(&opts)
	opts.Sink = both(r, kept)
	done := runner.Run(ctx, opts)
	err = r.Close()
	if kerr := kept.Close(); kerr != nil {
		o.env.warn(kerr.Error(), "the run itself is not touched by that; HOLDFAST_HISTORY names another folder, or none")
	}
	return done, err
}
