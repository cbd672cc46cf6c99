package load_test

import (
	"fmt"
	"strings"
	"testing"
)

// The larger helper is sent for a module that may speak TLS wherever it stands.
func TestTLS(t *testing.T) {
	cases := map[string]string{
		"a task":     "tasks: [{%s: {what: a, look: true}}]",
		"in a block": "tasks: [{name: b, tasks: [{%s: {what: a, look: true}}]}]",
		"a rescue":   "tasks: [{name: b, tasks: [{make: {name: a}}], rescue: [{%s: {what: a, look: true}}]}]",
		"verify":     "tasks: []\nverify: [{%s: {what: a, look: true}}]",
		"a handler":  "tasks: [{make: {name: a}, notify: [h]}]\nhandlers: {h: {%s: {what: a, look: true}}}",
		"a use":      "tasks: [{use: other}]",
	}
	for name, text := range cases {
		for module, want := range map[string]bool{"maybe": false, "look": true} {
			s := setup{text: text, uses: map[string]string{"other": fmt.Sprintf("tasks: [{%s: {what: a, look: true}}]", module)}}
			if name != "a use" {
				s.text = fmt.Sprintf(text, module)
			}
			pb, faults := s.compile()
			if len(faults) > 0 {
				t.Fatal(name, module, faults)
			}
			if got := pb.TLS(); got != want {
				t.Errorf("%s with %s: got %t, want %t", name, module, got, want)
			}
		}
	}
}

// A module that is not in the helper cannot be asked of a host.
func TestControllerAlone(t *testing.T) {
	pb, faults := setup{text: "tasks: [{near: {what: a}, on: controller}]"}.compile()
	if len(faults) > 0 || !pb.Controller() {
		t.Error("not on the controller", faults)
	}
	if pb, _ := (setup{text: "tasks: [{do: {what: a}, on: controller}]"}).compile(); pb.Controller() {
		t.Error("a module of hosts takes the program itself")
	}
	_, faults = setup{text: "tasks: [{near: {what: a}}]"}.compile()
	if len(faults) != 1 || !strings.Contains(faults[0].Message, "near works on the controller alone") {
		t.Errorf("got %v", faults)
	}
}
