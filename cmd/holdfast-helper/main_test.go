package main

import (
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
)

// As many threads as this take every idle one, and the main one if it is to be had.
const crowd = 64

func TestMainThreadIsKept(t *testing.T) {
	var arrived, done sync.WaitGroup
	arrived.Add(crowd)
	for range crowd {
		done.Go(func() {
			runtime.LockOSThread()
			if syscall.Gettid() == os.Getpid() {
				t.Error("the main thread works for others")
			}
			arrived.Done()
			arrived.Wait()
		})
	}
	done.Wait()
}
