package load_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"holdfast/inventory"
	"holdfast/playbooks/lang"
	"holdfast/playbooks/source"
	"holdfast/playbooks/source/yamlfile"
	"holdfast/runner/load"
	"holdfast/tasks/secret"
	"holdfast/tasks/task"
)

type account struct {
	Name     string          `yaml:"name" validate:"required" doc:"Its name."`
	Password task.SecretText `yaml:"password" doc:"Its password."`
}

type makeParams struct {
	Name     string                     `yaml:"name" validate:"required" doc:"What to make."`
	Count    *int64                     `yaml:"count" validate:"min=1" doc:"How many."`
	On       bool                       `yaml:"on" default:"true" doc:"Whether it is on."`
	Mode     *task.Mode                 `yaml:"mode" doc:"Bits."`
	Path     *task.Path                 `yaml:"path" doc:"Where."`
	Words    []string                   `yaml:"words" doc:"Words."`
	Env      map[string]string          `yaml:"env" doc:"Pairs."`
	Accounts []account                  `yaml:"accounts" doc:"Accounts."`
	Secret   task.SecretText            `yaml:"secret" doc:"A secret."`
	Secrets  []task.SecretText          `yaml:"secrets" doc:"Secrets."`
	Keyring  map[string]task.SecretText `yaml:"keyring" doc:"Secrets by name."`
	Content  *task.Blob                 `yaml:"content" blob:"text" doc:"Content."`
	File     *task.Blob                 `yaml:"file" blob:"file" doc:"A file."`
	Template *task.Blob                 `yaml:"template" blob:"template" doc:"A template."`
}

type made struct {
	UID   int64    `yaml:"uid" json:"uid" doc:"A number."`
	Home  string   `yaml:"home" json:"home" doc:"A text."`
	Lines []string `yaml:"lines" json:"lines" doc:"A list."`
}

var makeModule = task.New(task.Def[makeParams, made]{
	Name: "make", Doc: "Makes.",
	Validate: func(p makeParams) error {
		if p.Name == "forbidden" {
			return task.FieldErrorf("name", "this one is forbidden")
		}
		return nil
	},
	Resource: func(p makeParams) string { return p.Name },
	Observe:  func(context.Context, task.Reader, makeParams) (s made, err error) { return s, nil },
	Diff:     func(makeParams, made) []task.Change { return nil },
	Apply:    func(context.Context, task.Writer, makeParams, made) error { return nil },
})

type doParams struct {
	What string `yaml:"what" validate:"required" doc:"What to do."`
	Look bool   `yaml:"look" default:"false" doc:"Only look."`
}

func action(name string, edit func(*task.ActionDef[doParams, made])) *task.Module {
	def := task.ActionDef[doParams, made]{Name: name, Doc: "Does.", Resource: func(p doParams) string { return p.What },
		Run: func(context.Context, task.Writer, doParams) (r made, err error) { return r, nil }}
	if edit != nil {
		edit(&def)
	}
	return task.NewAction(def)
}

var toys = []*task.Module{
	makeModule,
	action("do", nil),
	action("look", func(d *task.ActionDef[doParams, made]) { d.ReadOnly, d.TLS = true, true }),
	action("near", func(d *task.ActionDef[doParams, made]) { d.ReadOnly, d.Controller = true, true }),
	action("maybe", func(d *task.ActionDef[doParams, made]) { d.Reads = func(p doParams) bool { return p.Look } }),
}

// setup is a playbook with everything that it is joined with.
type setup struct {
	text    string // without its head
	uses    map[string]string
	files   map[string]string
	fleet   string   // an inventory; one host "web1" when empty
	params  []string // -p
	secrets map[string]string
	tags    []string
	version string
}

const head = "playbook: site\nversion: 1.0.0\n"

func parsePlaybook(file, name, text string, files map[string]string) (*lang.Playbook, source.Faults) {
	root, faults := yamlfile.Parse(file, []byte(text))
	if len(faults) > 0 {
		return nil, faults
	}
	pb, faults := lang.Parse(root, file, lang.Options{Modules: []string{"make", "do", "look", "maybe", "near"}})
	fsys := fstest.MapFS{}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
	}
	pb.FS, pb.Digest, pb.Origin = fsys, text, "test"
	if name != "" {
		pb.Name = name
	}
	return pb, faults
}

func (s setup) compile() (*load.Playbook, source.Faults) {
	pb, faults := parsePlaybook("site.yml", "", head+s.text, s.files)
	if pb == nil {
		return nil, faults
	}
	find := func(name string) (*lang.Playbook, source.Faults) {
		if text, ok := s.uses[name]; ok {
			return parsePlaybook(name+".yml", name, "playbook: "+name+"\nversion: 1.0.0\n"+text, s.files)
		}
		return nil, source.Faults{{Message: "no playbook is called \"" + name + "\""}}
	}
	out, found := load.Compile(pb, load.Options{Modules: toys, Find: find, Version: s.version, Tags: s.tags})
	return out, append(faults, found...)
}

func (s setup) inventory(t testing.TB) []*inventory.Host {
	t.Helper()
	if s.fleet == "" {
		s.fleet = "hosts: {web1: {labels: {role: web}}}"
	}
	inv, faults := inventory.Parse("fleet.yml", []byte(s.fleet), inventory.Options{})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return inv.Hosts
}

func (s setup) options() (load.BindOptions, source.Faults) {
	opts := load.BindOptions{Params: map[string]*source.Node{}}
	var faults source.Faults
	for _, flag := range s.params {
		name, n, fault := load.ParseFlag(flag, yamlfile.Parse)
		if fault != nil {
			faults.Add(fault)
			continue
		}
		opts.Params[name] = n
	}
	if s.secrets != nil {
		known := map[string]secret.Text{}
		for name, text := range s.secrets {
			known[name] = secret.New(text)
		}
		opts.Secret = func(_ *inventory.Host, name string) (secret.Text, error) {
			if text, ok := known[name]; ok {
				return text, nil
			}
			return secret.Text{}, errors.New("there is no such secret")
		}
	}
	return opts, faults
}

// faults joins everything, as the program does: also when the playbook has faults.
func (s setup) faults(t testing.TB) source.Faults {
	t.Helper()
	pb, faults := s.compile()
	opts, found := s.options()
	faults = append(faults, found...)
	if pb != nil {
		_, found := load.Bind(pb, s.inventory(t), opts)
		faults = append(faults, found...)
	}
	return faults.Sorted()
}

// bound joins what has no faults and returns the first host.
func (s setup) bound(t testing.TB) *load.Host {
	t.Helper()
	pb, faults := s.compile()
	opts, found := s.options()
	if faults = append(faults, found...); len(faults) == 0 {
		var hosts []*load.Host
		if hosts, faults = load.Bind(pb, s.inventory(t), opts); len(faults) == 0 {
			return hosts[0]
		}
	}
	t.Fatalf("faults in\n%s\n%v", s.text, faults)
	return nil
}

type faultCase struct {
	name string
	setup
	want string
}

func checkFaults(t *testing.T, cases []faultCase) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			if faults := c.faults(t); len(faults) > 0 {
				got = tell(faults)
			}
			if got != c.want {
				t.Errorf("%s\n got %s\nwant %s", c.text, got, c.want)
			}
		})
	}
}

// tell writes faults down, one after the other.
func tell(faults source.Faults) string {
	var out []string
	for _, f := range faults {
		out = append(out, source.Faults{f}.Error())
	}
	return strings.Join(out, "\n")
}
