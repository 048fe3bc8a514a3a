package main

import (
	"net/netip"
	"testing"

	"backscatter/evidence"
	"backscatter/evidence/intake"
)

// A message that came from two clients, or to two people, is two reports; one
// without an envelope is known by itself, as it was in files of before.
func TestHashOf(t *testing.T) {
	t.Parallel()
	raw := []byte("Subject: x\r\n\r\nx\r\n")
	client := netip.MustParseAddr("192.0.2.66")
	seen := map[messageHash]int{}
	for i, e := range []evidence.Envelope{
		{},
		{Client: client},
		{Client: client.Next()},
		{Client: client, Recipients: []string{"a@trap.example"}},
		{Client: client, Recipients: []string{"a@trap.example", "b@trap.example"}},
		{Client: client, Recipients: []string{`a@trap.example" "b@trap.example`}},
		{Client: client, MailFromKnown: true},
		{Client: client, MailFromKnown: true, MailFrom: "a@b.example"},
	} {
		h := hashOf(intake.Item{Raw: raw, Envelope: e})
		if other, ok := seen[h]; ok {
			t.Errorf("envelopes %d and %d are the same", other, i)
		}
		seen[h] = i
		if h != hashOf(intake.Item{Raw: raw, Envelope: e, Path: "elsewhere", Index: 7}) {
			t.Errorf("envelope %d: where it is matters", i)
		}
	}
	if got := hashOf(intake.Item{Raw: []byte("x")}); got != (messageHash{0x2d, 0x71, 0x16, 0x42, 0xb7, 0x26, 0xb0, 0x44, 0x01, 0x62, 0x7c, 0xa9, 0xfb, 0xac, 0x32, 0xf5}) {
		t.Errorf("%x", got)
	}
}
