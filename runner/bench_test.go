package runner_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"holdfast/runner"
	"holdfast/runner/event"
	"holdfast/runner/wire"
	"holdfast/tasks"
)

var nobody = event.SinkFunc(func(event.Event) {})

// BenchmarkFrames is how fast results of the usual size come through.
func BenchmarkFrames(b *testing.B) {
	r, w := io.Pipe()
	near, far := wire.NewStream(r, io.Discard), wire.NewStream(strings.NewReader(""), w)
	m := &wire.Message{Result: &wire.Result{N: 1, Status: "changed", Resource: "/etc/motd", Output: strings.Repeat("x", 500)}}
	done := make(chan error, 1)
	go func() {
		for range b.N {
			if err := far.Send(m); err != nil {
				done <- err
				return
			}
		}
		done <- w.Close()
	}()
	b.ResetTimer()
	for range b.N {
		_, payload, err := near.ReadFrame()
		if err != nil {
			b.Fatal(err)
		}
		if _, err := wire.DecodeMessage(payload); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(payload)))
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

// BenchmarkCheck100Files is the helper's work for a hundred files that are as they
// shall be, the set-up included.
func BenchmarkCheck100Files(b *testing.B) {
	dir := b.TempDir()
	text := "tasks: []\nverify:\n"
	for i := range 100 {
		name := filepath.Join(dir, fmt.Sprintf("f%d", i))
		if err := os.WriteFile(name, []byte("content\n"), 0o644); err != nil {
			b.Fatal(err)
		}
		text += fmt.Sprintf("  - file: {path: %s, content: \"content\\n\", mode: 0644}\n", name)
	}
	p := play{hosts: hosts(b, 1), mode: event.Verify, text: text, modules: tasks.All()}
	opts := p.options(b, nobody)
	for b.Loop() {
		if fin := runner.Run(context.Background(), opts); fin.OK != 1 {
			b.Fatalf("got %+v", fin)
		}
	}
}

// BenchmarkEngine500Hosts is the engine's own share: ten tasks that only read.
func BenchmarkEngine500Hosts(b *testing.B) {
	p := play{hosts: hosts(b, 500), mode: event.Verify, text: "tasks: []\nverify:\n" + strings.Repeat("  - look: {key: '${host.name}'}\n", 10)}
	opts := p.options(b, nobody)
	for b.Loop() {
		if fin := runner.Run(context.Background(), opts); fin.OK != 500 {
			b.Fatalf("got %+v", fin)
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapSys>>20), "MiB-heap")
}
