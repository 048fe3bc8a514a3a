package dnsd_test

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"net"
	"slices"
	"testing"
	"time"

	"backscatter/dnsd"

	"github.com/miekg/dns"
)

// signed returns a signed question for the test point.
func signed(t *testing.T, key, algorithm, secret string, at time.Time) (packet []byte, mac string) {
	t.Helper()
	m := question("2.0.0.127.bl.example.", dns.TypeA)
	m.SetTsig(key, algorithm, 300, at.Unix())
	packet, mac, err := dns.TsigGenerate(m, base64.StdEncoding.EncodeToString([]byte(secret)), "", false)
	if err != nil {
		t.Fatal(err)
	}
	return packet, mac
}

// A signed question is answered as it would be without, and signed; a bad
// signature is never passed over (RFC 8945 §5.2, §5.3).
func TestSignedQuestions(t *testing.T) {
	t.Parallel()
	p := newPrimary(t, snapshot(), nil)
	now := time.Now()
	good, mac := signed(t, keyName, dns.HmacSHA256, secret, now)
	strong, strongMAC := signed(t, "OTHER.example.", dns.HmacSHA512, "another", now)
	unknown, _ := signed(t, "nobody.example.", dns.HmacSHA256, secret, now)
	weak, _ := signed(t, keyName, dns.HmacSHA1, secret, now) // an algorithm that we do not take
	swapped, _ := signed(t, keyName, dns.HmacSHA512, secret, now)
	wrong, _ := signed(t, keyName, dns.HmacSHA256, "guessed", now)
	late, lateMAC := signed(t, keyName, dns.HmacSHA256, secret, now.Add(-time.Hour))
	early, earlyMAC := signed(t, keyName, dns.HmacSHA256, secret, now.Add(time.Hour))
	touched, _ := signed(t, keyName, dns.HmacSHA256, secret, now)
	touched[len("xx")+15] ^= 1 // the name that is asked
	forwarded, forwardedMAC := signed(t, keyName, dns.HmacSHA256, secret, now)
	binary.BigEndian.PutUint16(forwarded, 0x1234) // with another ID (RFC 8945 §4.2)
	for _, tt := range []struct {
		name   string
		packet []byte
		mac    string // empty: the answer must not be signed
		secret string
		rcode  int
		fault  uint16
	}{
		{"good", good, mac, secret, dns.RcodeSuccess, 0},
		{"another key, in another case", strong, strongMAC, "another", dns.RcodeSuccess, 0},
		{"forwarded", forwarded, forwardedMAC, secret, dns.RcodeSuccess, 0},
		{"unknown key", unknown, "", "", dns.RcodeNotAuth, dns.RcodeBadKey},
		{"unknown algorithm", weak, "", "", dns.RcodeNotAuth, dns.RcodeBadKey},
		{"another algorithm", swapped, "", "", dns.RcodeNotAuth, dns.RcodeBadKey},
		{"wrong secret", wrong, "", "", dns.RcodeNotAuth, dns.RcodeBadSig},
		{"altered", touched, "", "", dns.RcodeNotAuth, dns.RcodeBadSig},
		{"too old", late, lateMAC, secret, dns.RcodeNotAuth, dns.RcodeBadTime},
		{"from the future", early, earlyMAC, secret, dns.RcodeNotAuth, dns.RcodeBadTime},
	} {
		for _, over := range []dnsd.Transport{dnsd.UDP, dnsd.TCP} {
			answer := exchange(t, over, udpAddr(t, p.addr), tt.packet)
			var r dns.Msg
			if err := r.Unpack(append([]byte(nil), answer...)); err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			sig := r.IsTsig()
			if r.Rcode != tt.rcode || sig == nil || sig.Error != tt.fault || r.Id != binary.BigEndian.Uint16(tt.packet) {
				t.Errorf("%s over %s: %v", tt.name, over, &r)
				continue
			}
			if (tt.rcode == dns.RcodeSuccess) != (len(r.Answer) == 1) {
				t.Errorf("%s over %s: %v", tt.name, over, &r)
			}
			if (tt.mac != "") != (sig.MACSize > 0) {
				t.Errorf("%s over %s: signed with %d octets", tt.name, over, sig.MACSize)
			}
			if tt.mac == "" {
				continue
			}
			// Package dns does not verify what tells an error, so it is not told one.
			answer[3] &^= 0xf
			restored := append([]byte(nil), answer...)
			if tt.rcode != dns.RcodeSuccess {
				if other, err := hex.DecodeString(sig.OtherData); err != nil || len(other) != 6 {
					t.Errorf("%s: our time is %q", tt.name, sig.OtherData)
				}
				continue
			}
			if err := dns.TsigVerify(restored, base64.StdEncoding.EncodeToString([]byte(tt.secret)), tt.mac, false); err != nil {
				t.Errorf("%s over %s: %v", tt.name, over, err)
			}
		}
	}
}

func udpAddr(tb testing.TB, addr string) net.Addr {
	tb.Helper()
	a, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

// A signature must be the last record, and only one, and be readable
// (RFC 8945 §5.1, §5.2); one that was cut says so.
func TestBadSignatures(t *testing.T) {
	t.Parallel()
	p := newPrimary(t, snapshot(), nil)
	good, _ := signed(t, keyName, dns.HmacSHA256, secret, time.Now())
	plain := packed(t, question("2.0.0.127.bl.example.", dns.TypeA))
	record := good[len(plain):]
	with := func(count byte, parts ...[]byte) []byte {
		out := append([]byte(nil), plain...)
		for _, part := range parts {
			out = append(out, part...)
		}
		out[11] = count
		return out
	}
	opt := []byte{0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0}
	inAnswer := with(0, record)
	inAnswer[7] = 1
	wrongClass := append([]byte(nil), record...)
	wrongClass[len(keyName)+1+3] = byte(dns.ClassINET)
	wrongTTL := append([]byte(nil), record...)
	wrongTTL[len(keyName)+1+7] = 1
	// The MAC of 32 octets ends 6 before the end: id, error, length.
	cut := func(n int) []byte {
		out := append([]byte(nil), record[:len(record)-6-32]...)
		binary.BigEndian.PutUint16(out[len(out)-2:], uint16(n))
		length := len(keyName) + 1 + 8
		binary.BigEndian.PutUint16(out[length:], binary.BigEndian.Uint16(out[length:])-uint16(32-n))
		return append(append(out, record[len(record)-6-32:len(record)-6-32+n]...), record[len(record)-6:]...)
	}
	name := len(keyName) + 1
	compressed := slices.Concat(record[:name+10], []byte{0xC0, 12}, record[name+10+len("hmac-sha256")+2:])
	binary.BigEndian.PutUint16(compressed[name+8:], binary.BigEndian.Uint16(compressed[name+8:])-uint16(len("hmac-sha256")))
	short := append([]byte(nil), record...)
	binary.BigEndian.PutUint16(short[len(short)-2:], 5) // other data beyond the record
	for _, tt := range []struct {
		name   string
		packet []byte
		rcode  int
		fault  uint16
	}{
		{"good", with(1, record), dns.RcodeSuccess, 0},
		{"with OPT before it", with(2, opt, record), dns.RcodeNotAuth, dns.RcodeBadSig},
		{"with OPT behind it", with(2, record, opt), dns.RcodeFormatError, 0},
		{"twice", with(2, record, record), dns.RcodeFormatError, 0},
		{"as an answer", inAnswer, dns.RcodeFormatError, 0},
		{"of another class", with(1, wrongClass), dns.RcodeFormatError, 0},
		{"with a TTL", with(1, wrongTTL), dns.RcodeFormatError, 0},
		{"cut to 16 octets", with(1, cut(16)), dns.RcodeNotAuth, dns.RcodeBadTrunc},
		{"cut to 15 octets", with(1, cut(15)), dns.RcodeFormatError, 0},
		{"without a MAC", with(1, cut(0)), dns.RcodeFormatError, 0},
		{"with a compressed algorithm", with(1, compressed), dns.RcodeFormatError, 0}, // RFC 8945 §4.2
		{"too short", with(1, short), dns.RcodeFormatError, 0},
	} {
		var r dns.Msg
		if err := r.Unpack(exchange(t, dnsd.UDP, udpAddr(t, p.addr), tt.packet)); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		fault := uint16(0)
		if r.IsTsig() != nil {
			fault = r.IsTsig().Error
		}
		if r.Rcode != tt.rcode || fault != tt.fault {
			t.Errorf("%s: %v", tt.name, &r)
		}
	}
}

// An answer has room for its signature: what does not fit with it is truncated,
// and signed (RFC 8945 §5.3).
func TestSignedTruncated(t *testing.T) {
	t.Parallel()
	p := newPrimary(t, snapshot(), nil)
	c := dns.Client{Timeout: patience, TsigSecret: tsigSecrets, UDPSize: 4096}
	for size := uint16(0); size < 1300; size += 20 {
		m := new(dns.Msg).SetQuestion("bl.example.", dns.TypeNS)
		limit := 512
		if size > 0 {
			m.SetEdns0(size, false)
			limit = max(limit, min(int(size), 1232))
		}
		m.SetTsig(keyName, dns.HmacSHA256, 300, time.Now().Unix())
		r, _, err := c.Exchange(m, p.addr)
		if err != nil || r.IsTsig() == nil {
			t.Fatalf("%d: %v, %v", size, r, err)
		}
		if r.Len() > limit || r.Truncated != (len(r.Answer) == 0) {
			t.Errorf("%d: %d octets, %v", size, r.Len(), r.MsgHdr)
		}
	}
	m := new(dns.Msg).SetQuestion("big.example.", dns.TypeNS)
	m.SetTsig(keyName, dns.HmacSHA256, 300, time.Now().Unix())
	if r, _, err := c.Exchange(m, p.addr); err != nil || !r.Truncated || r.IsTsig() == nil || len(r.Answer) > 0 {
		t.Errorf("%v, %v", r, err)
	}
}

// What is shared is checked as a whole.
func TestNewSecondaries(t *testing.T) {
	t.Parallel()
	good := dnsd.Key{Name: "a.example", Algorithm: "hmac-sha256", Secret: []byte("x")}
	for name, keys := range map[string][]dnsd.Key{
		"twice":             {good, {Name: "A.example.", Algorithm: "hmac-sha512", Secret: []byte("y")}},
		"no name":           {{Algorithm: "hmac-sha256", Secret: []byte("x")}},
		"no domain name":    {{Name: "a..b", Algorithm: "hmac-sha256", Secret: []byte("x")}},
		"no such algorithm": {{Name: "b.example", Algorithm: "hmac-md5", Secret: []byte("x")}},
		"no secret":         {{Name: "b.example", Algorithm: "hmac-sha256"}},
	} {
		if _, err := dnsd.NewSecondaries(keys); err == nil {
			t.Error(name)
		}
	}
	for name, z := range map[string]dnsd.Sharing{
		"open to all":     {Zone: "bl.example", Allow: []dnsd.TransferRule{{}}},
		"unknown key":     {Zone: "bl.example", Allow: []dnsd.TransferRule{{Key: "b.example"}}},
		"notify nobody":   {Zone: "bl.example", Notify: []dnsd.Target{{}}},
		"notify, unknown": {Zone: "bl.example", Notify: []dnsd.Target{{Key: "b.example"}}},
	} {
		if _, err := dnsd.NewSecondaries([]dnsd.Key{good}, z); err == nil {
			t.Error(name)
		}
	}
}
