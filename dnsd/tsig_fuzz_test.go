package dnsd

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// FuzzSignature reads signatures from packets, and writes again what was read: it
// must be read as the same, and who does not have the key never passes.
func FuzzSignature(f *testing.F) {
	const name, secret = "transfer.example.", "YSBzZWNyZXQgb2YgdGhlIHRlc3RzLCAzMiBvY3RldHM="
	for _, algorithm := range []string{dns.HmacSHA256, dns.HmacSHA512, dns.HmacSHA1} {
		m := new(dns.Msg).SetQuestion("bl.example.", dns.TypeSOA)
		m.SetTsig(name, algorithm, 300, time.Now().Unix())
		packet, _, err := dns.TsigGenerate(m, secret, "", false)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packet)
	}
	k, err := Key{Name: name, Algorithm: "hmac-sha256", Secret: []byte("not the secret of these packets")}.compile()
	if err != nil {
		f.Fatal(err)
	}
	have := keys{string(k.name): k}
	f.Fuzz(func(t *testing.T, packet []byte) {
		q, ok := parse(slices.Clone(packet))
		if !ok || q.signed == 0 {
			return
		}
		if _, rcode := have.authenticate(q.packet, q.signed, uint64(time.Now().Unix())); rcode == dns.RcodeSuccess {
			t.Fatal("believed")
		}
		if !bytes.Equal(q.packet, packet) {
			t.Fatal("the packet was changed")
		}
		s, err := readSignature(q.packet, q.signed)
		if err != nil {
			return
		}
		again, err := readSignature(s.appendRecord(make([]byte, headerSize)), headerSize)
		if err != nil || !bytes.Equal(again.variables(true), s.variables(true)) || !bytes.Equal(again.mac, s.mac) || again.id != s.id {
			t.Fatalf("%+v, %v, want %+v", again, err, s)
		}
	})
}
