package remote

import (
	"crypto/ed25519"
	"net/http"

	"github.com/dunglas/httpsfv"
)

// Verify reports what is wrong with a request's signature but for what it covers
// and its time, so that examples of others can be tried.
func Verify(r *http.Request, label string, key ed25519.PublicKey) error {
	inputs, err := dictionary(r.Header, "Signature-Input")
	if err != nil {
		return err
	}
	values, err := dictionary(r.Header, "Signature")
	if err != nil {
		return err
	}
	member, _ := inputs.Get(label)
	input, _ := member.(httpsfv.InnerList)
	member, _ = values.Get(label)
	item, _ := member.(httpsfv.Item)
	value, _ := item.Value.([]byte)
	base, err := signatureBase(r, input)
	if err != nil {
		return err
	}
	if !ed25519.Verify(key, base, value) {
		return errSignature
	}
	return nil
}

// PaceOf tells how often the list failed, as the queue remembers it.
func PaceOf(o *Outbox) int { return o.pace().Failures }
