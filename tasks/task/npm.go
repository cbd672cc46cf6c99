package task

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strconv"
	"strings"
)

// NpmTarball returns where an npm registry has the archive of a package's version.
func NpmTarball(registry, name, version string) string {
	return strings.TrimRight(registry, "/") + "/" + name + "/-/" + path.Base(name) + "-" + version + ".tgz"
}

// CompareVersions orders versions made of numbers with dots; what else is in them
// counts as text, and a version with more after a - comes before the one without
// (Semantic Versioning, section 11).
func CompareVersions(a, b string) int {
	a, preA, _ := strings.Cut(a, "-")
	b, preB, _ := strings.Cut(b, "-")
	if c := compareDotted(a, b); c != 0 {
		return c
	}
	switch {
	case preA == preB:
		return 0
	case preA == "":
		return 1
	case preB == "":
		return -1
	}
	return compareDotted(preA, preB)
}

func compareDotted(a, b string) int {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(x), len(y)) {
		n, nerr := strconv.ParseUint(x[i], 10, 64)
		m, merr := strconv.ParseUint(y[i], 10, 64)
		c := cmp.Compare(x[i], y[i])
		if nerr == nil && merr == nil {
			c = cmp.Compare(n, m)
		}
		if c != 0 {
			return c
		}
	}
	return cmp.Compare(len(x), len(y))
}

// NpmVersion returns the version of an installed package, as its package.json says, or
// "" when it is not there.
func NpmVersion(ctx context.Context, r Reader, dir, name string) (string, error) {
	var manifest struct {
		Version string `json:"version"`
	}
	err := readJSON(ctx, r, path.Join(dir, "node_modules", name, "package.json"), &manifest)
	return manifest.Version, err
}

// NpmIntegrity returns the checksum of an installed package's archive, as npm noted it.
func NpmIntegrity(ctx context.Context, r Reader, dir, name string) (string, error) {
	var lock struct {
		Packages map[string]struct {
			Integrity string `json:"integrity"`
		} `json:"packages"`
	}
	file := path.Join(dir, "node_modules/.package-lock.json")
	err := readJSON(ctx, r, file, &lock)
	got := lock.Packages["node_modules/"+name].Integrity
	if err == nil && got == "" {
		err = fmt.Errorf("cannot find %s in %s", name, file)
	}
	return got, err
}

// readJSON reads a file into what v points to; one that is not there leaves it alone.
func readJSON(ctx context.Context, r Reader, file string, v any) error {
	info, err := r.Stat(ctx, file)
	if err != nil || info.Kind != KindFile {
		return err
	}
	data, err := r.ReadFile(ctx, file, 64<<20)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("cannot read %s: %w", file, err)
	}
	return nil
}
