package sshconn_test

import (
	"bytes"
	"testing"

	"holdfast/runner/sshconn"
)

func FuzzMerge(f *testing.F) {
	b := "[127.0.0.1]:2222 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJCE6qIDYyqc8vcSVQFZLVBqZAXvc2+K+dVwkGmB3ZNG"
	keys, err := sshconn.ParseKnownForTest("127.0.0.1:2222", b)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(b))
	f.Add([]byte("# x\n|1|AAAA|AAAA ssh-rsa AAAA\n@revoked * ssh-ed25519 AAAA\n"))
	f.Add([]byte("a,[127.0.0.1]:2222 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPxKwGDBSJ9mpGbtLZXBhCWXEBVb3IuOGyNDGUqSQBDM"))
	f.Fuzz(func(t *testing.T, text []byte) {
		kept, _, err := sshconn.MergeForTest(bytes.Clone(text), keys, false)
		if err == nil && !bytes.Equal(kept, text) {
			t.Errorf("without replacing: got %q from %q", kept, text)
		}
		kept, add, err := sshconn.MergeForTest(bytes.Clone(text), keys, true)
		if err != nil {
			t.Fatal(err)
		}
		// What was recorded is then known, and nothing differs any more.
		again := append(bytes.Clone(kept), '\n')
		for _, line := range add {
			again = append(again, line+"\n"...)
		}
		if _, more, err := sshconn.MergeForTest(again, keys, false); err != nil || len(more) != 0 {
			t.Errorf("a second time: got %v, %v after %q", more, err, again)
		}
	})
}
