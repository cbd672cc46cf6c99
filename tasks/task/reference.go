package task

import (
	"encoding/hex"
	"reflect"
	"strconv"

	"holdfast/playbooks/source"
)

// SecretKey and BlobKey are the keys under which resolved arguments refer to
// what travels in frames of its own: {"$secret": 3}, {"$blob": "<sha256>", "size": 10}.
// TextKey holds small content inline: {"$text": "…"}. Content has "secret": true
// when it must not be shown. In a playbook these keys mean nothing.
const (
	SecretKey = "$secret"
	BlobKey   = "$blob"
	TextKey   = "$text"
)

func (d *decoder) secret(n *source.Node, path string, v reflect.Value) {
	ref := n.Get(SecretKey)
	if ref == nil || !d.resolved || d.secrets == nil {
		d.fault(n, path, `name it: ${secret("name")}`, "want a secret, got %s", n.Kind)
		return
	}
	id, err := strconv.Atoi(ref.Text)
	if err != nil {
		d.fault(n, path, "", "bad reference to a secret")
		return
	}
	text, ok := d.secrets(id)
	if !ok {
		d.fault(n, path, "", "secret %d did not come along", id)
		return
	}
	v.Set(reflect.ValueOf(text))
}

func (d *decoder) blob(n *source.Node, path string, v reflect.Value) {
	flag := n.Get("secret")
	hidden := flag != nil && flag.Text == "true"
	text, digest, size := n.Get(TextKey), n.Get(BlobKey), n.Get("size")
	switch {
	case !d.resolved || text == nil && (digest == nil || size == nil):
		d.fault(n, path, "", "want content, got %s", n.Kind)
		return
	case text != nil:
		b := NewBlob([]byte(text.Text))
		b.Secret = hidden
		v.Set(reflect.ValueOf(b))
		return
	}
	bytes, err := strconv.ParseInt(size.Text, 10, 64)
	if sum, herr := hex.DecodeString(digest.Text); err != nil || bytes < 0 || herr != nil || len(sum) != 32 {
		d.fault(n, path, "", "bad reference to content")
		return
	}
	v.Set(reflect.ValueOf(Blob{Digest: digest.Text, Size: bytes, Secret: hidden}))
}
