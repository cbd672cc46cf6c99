package remote

import (
	"reflect"

	"holdfast/runner/wire"
)

// scrubWelcome makes every text of a welcome safe to show. Facts end up in
// expressions, in reports and on terminals.
func scrubWelcome(w *wire.Welcome) { scrub(reflect.ValueOf(w).Elem()) }

func scrubDone(d *wire.Done) {
	text := d.Error
	d.Error = ""
	scrub(reflect.ValueOf(d).Elem())
	d.Error = cleanText(text)
}

func scrub(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(clean(v.String()))
	case reflect.Pointer:
		if !v.IsNil() {
			scrub(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			scrub(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				scrub(v.Field(i))
			}
		}
	}
}
