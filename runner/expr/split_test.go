package expr_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"holdfast/runner/expr"
)

func TestSplit(t *testing.T) {
	lit := func(text string, off int) expr.Part { return expr.Part{Text: text, Offset: off} }
	exp := func(text string, off int) expr.Part { return expr.Part{IsExpr: true, Text: text, Offset: off} }
	for _, tt := range []struct {
		name, text string
		want       []expr.Part
	}{
		{"nothing", "", nil},
		{"a plain text", "a $b } {", []expr.Part{lit("a $b } {", 0)}},
		{"one expression", "${a.b}", []expr.Part{exp("a.b", 2)}},
		{"around it", "x${ a }y", []expr.Part{lit("x", 0), exp(" a ", 3), lit("y", 7)}},
		{"two in a row", "${a}${b}", []expr.Part{exp("a", 2), exp("b", 6)}},
		{"an escape", "$${a} $$ ${b}", []expr.Part{lit("${a} $$ ", 0), exp("b", 11)}},
		{"a dollar before an escape", "$$${a}", []expr.Part{lit("$${a}", 0)}},
		{"nested braces", "${{'a': {'b': 1}}['a']}", []expr.Part{exp("{'a': {'b': 1}}['a']", 2)}},
		{"a brace in a string", `${'}' + "}"}`, []expr.Part{exp(`'}' + "}"`, 2)}},
		{"an escaped quote", `${'\'}'}`, []expr.Part{exp(`'\'}'`, 2)}},
		{"a raw string", `${r'\'}`, []expr.Part{exp(`r'\'`, 2)}},
		{"raw bytes", `${bR"\"}`, []expr.Part{exp(`bR"\"`, 2)}},
		{"bytes with an escape", `${b'\'}'}`, []expr.Part{exp(`b'\'}'`, 2)}},
		{"a long string", "${'''a'b}\n'''}", []expr.Part{exp("'''a'b}\n'''", 2)}},
		{"an empty string", "${''}}", []expr.Part{exp("''", 2), lit("}", 5)}},
		{"an expression in a string", "${'${a}'}", []expr.Part{exp("'${a}'", 2)}},
		{"a comment", "${a // }\n}", []expr.Part{exp("a // }\n", 2)}},
		{"an apostrophe outside", "it's ${a}", []expr.Part{lit("it's ", 0), exp("a", 7)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := expr.Split(tt.text)
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("Split(%q) = %+v, %v; want %+v", tt.text, got, err, tt.want)
			}
		})
	}
}

func TestSplitFaults(t *testing.T) {
	for _, tt := range []struct {
		text    string
		offset  int
		message string
	}{
		{"ab ${c", 3, "unterminated ${"},
		{"ab ${c {}", 3, "unterminated ${"},
		{"${a // }", 0, "unterminated ${"},
		{"${'a}", 2, "unterminated string in ${ }"},
		{"${'a\n'}", 2, "unterminated string in ${ }"},
		{`${ "a\"}`, 3, "unterminated string in ${ }"},
		{"${'''a''}", 2, "unterminated string in ${ }"},
		{"x ${}", 2, "empty expression"},
		{"x ${ \n }", 2, "empty expression"},
	} {
		_, err := expr.Split(tt.text)
		var f *expr.Fault
		if !errors.As(err, &f) || f.Offset != tt.offset || f.Message != tt.message || f.Hint == "" {
			t.Errorf("Split(%q): got %+v, want %d: %s, and a hint", tt.text, err, tt.offset, tt.message)
		}
	}
}

func FuzzSplit(f *testing.F) {
	for _, s := range []string{"", "a ${b} $${c}", `${r'\' + "}" + '''x'''}`, "${{'a': 1}}", "${a // }\n}", "${'", "$$$${"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		parts, err := expr.Split(text)
		if err != nil {
			var fault *expr.Fault
			if !errors.As(err, &fault) || fault.Offset < 0 || fault.Offset >= len(text) {
				t.Fatalf("Split(%q): offset out of range: %+v", text, err)
			}
			return
		}
		// Written down again, the parts are the text.
		var b strings.Builder
		for i, p := range parts {
			if p.Offset+min(1, len(p.Text)) > len(text) || i > 0 && !p.IsExpr && !parts[i-1].IsExpr {
				t.Fatalf("Split(%q): bad part %d: %+v", text, i, p)
			}
			if p.IsExpr {
				b.WriteString("${" + p.Text + "}")
			} else {
				b.WriteString(strings.ReplaceAll(p.Text, "${", "$${"))
			}
		}
		if b.String() != text {
			t.Fatalf("Split(%q) = %+v, which reads %q", text, parts, b.String())
		}
	})
}
