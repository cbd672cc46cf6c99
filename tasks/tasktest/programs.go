package tasktest

import (
	"encoding/json"
	"path"
	"slices"

	"holdfast/tasks/task"
)

// NpmIntegrity is the checksum of every package in the registry of the npm that hosts
// of tests have.
const NpmIntegrity = "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg=="

// program plays the programs that modules are built around. What it changes is not in
// the journal: only the module's Undo can take it back.
func (h *Host) program(cmd task.Command) (task.Output, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case cmd.Argv[0] == "rm":
		h.forgetTree(cmd.Argv[len(cmd.Argv)-1])
	case cmd.Argv[0] == "git" && slices.Contains(cmd.Argv, "init"):
		h.made(path.Join(cmd.Argv[2], ".git/HEAD"), "ref: refs/heads/main\n")
	case cmd.Argv[0] == "git" && slices.Contains(cmd.Argv, "checkout"):
		h.made(path.Join(cmd.Argv[2], ".git/HEAD"), cmd.Argv[len(cmd.Argv)-1]+"\n")
	case len(cmd.Argv) > 2 && path.Base(cmd.Argv[1]) == "npm-cli.js":
		return h.npm(cmd)
	}
	return task.Output{}, nil
}

// make puts files into the host as a program does.
func (h *Host) made(name, data string) {
	for dir := path.Dir(name); h.state.Files[dir].Kind == ""; dir = path.Dir(dir) {
		h.state.Files[dir] = node{Kind: task.KindDir, Mode: 0o755, Owner: "root", Group: "root"}
	}
	h.state.Files[name] = node{Kind: task.KindFile, Mode: 0o644, Owner: "root", Group: "root", Data: []byte(data)}
}

func (h *Host) forgetTree(where string) {
	n := len(h.inverses)
	h.removeTree(where)
	h.inverses = h.inverses[:n]
}

// npm installs what package.json in the command's folder asks for.
func (h *Host) npm(cmd task.Command) (task.Output, error) {
	var manifest struct {
		Dependencies map[string]string `json:"dependencies"`
	}
	n, err := h.regular(path.Join(cmd.Dir, "package.json"))
	if err == nil {
		err = json.Unmarshal(n.Data, &manifest)
	}
	if err != nil || !slices.Contains([]string{"install", "ci"}, cmd.Argv[2]) {
		return task.Output{Status: 1, Stderr: "npm error"}, nil
	}
	packages := map[string]map[string]string{}
	for _, name := range sorted(manifest.Dependencies) {
		packages["node_modules/"+name] = map[string]string{"version": manifest.Dependencies[name], "integrity": NpmIntegrity}
		h.made(path.Join(cmd.Dir, "node_modules", name, "package.json"), `{"name":"`+name+`","version":"`+manifest.Dependencies[name]+`"}`)
	}
	lock, err := json.Marshal(map[string]any{"packages": packages})
	h.made(path.Join(cmd.Dir, "node_modules/.package-lock.json"), string(lock))
	return task.Output{}, err
}
