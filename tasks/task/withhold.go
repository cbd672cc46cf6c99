package task

import (
	"reflect"
	"slices"
	"strings"
)

// withhold blanks the values of changes to what holds secrets, whatever the module
// put there.
func withhold(changes []Change, secrets []string) []Change {
	for i := range changes {
		c := &changes[i]
		if c.Sensitive || slices.ContainsFunc(secrets, func(s string) bool { return overlap(attrPath(c.Attr), s) }) {
			c.Before, c.After, c.Diff, c.Sensitive = "", "", "", true
		}
	}
	return changes
}

// attrPath returns the path of an attribute without the places in lists:
// users[2].password is users.password.
func attrPath(attr string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(attr, "[")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		_, attr, _ = strings.Cut(rest, "]")
	}
}

// overlap reports whether one path is the other or is inside of it.
func overlap(a, b string) bool {
	return a == b || strings.HasPrefix(a, b+".") || strings.HasPrefix(b, a+".")
}

// sensitive returns the paths of the fields that hold secrets in the parameters
// that p points to.
func sensitive(fields []Field, p any) []string {
	var out []string
	gather(&out, fields, fieldsIn(p), "")
	slices.Sort(out)
	return slices.Compact(out)
}

func gather(out *[]string, fields []Field, v reflect.Value, path string) {
	for i := range fields {
		f := &fields[i]
		gatherValue(out, f, v.Field(f.index), path+f.Name)
	}
}

func gatherValue(out *[]string, f *Field, v reflect.Value, path string) {
	switch {
	case v.Kind() == reflect.Pointer:
		if !v.IsNil() {
			gatherValue(out, f, v.Elem(), path)
		}
	case v.Type() == secretType:
		if !v.Interface().(SecretText).IsZero() {
			*out = append(*out, path)
		}
	case v.Type() == blobType:
		if v.Interface().(Blob).Secret {
			*out = append(*out, path)
		}
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			gatherValue(out, f, v.Index(i), path)
		}
	case v.Kind() == reflect.Map:
		for it := v.MapRange(); it.Next(); {
			gatherValue(out, f, it.Value(), path)
		}
	case v.Kind() == reflect.Struct && len(f.Fields) > 0:
		gather(out, f.Fields, v, path+".")
	}
}
