package listing

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var (
	codecTime = time.Date(2026, 11, 22, 5, 30, 0, 0, time.UTC)
	codecCmp  = cmp.Options{
		cmp.AllowUnexported(Key{}, AuditEntry{}), cmpopts.IgnoreUnexported(record{}), cmpopts.EquateEmpty(),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	}
)

// codec is the pair of functions for one kind of value, with a value that has
// all its parts.
type codec struct {
	name   string
	key    []byte
	value  any
	encode func(key []byte, v any) []byte
	decode func(key, value []byte) (any, error)
}

// must is for encoders, which fail only with the database.
func must(value []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return value
}

func codecs() ([]codec, *lexicon) {
	lex := newLexicon(nil)
	host := prefixKey(netip.MustParsePrefix("2001:db8:1:2::/64"))
	v4 := prefixKey(netip.MustParsePrefix("192.0.2.66/32"))
	key, _ := PrefixKey(netip.MustParsePrefix("192.0.2.66/32"))
	entries := []Entry{
		{Prefix: netip.MustParsePrefix("192.0.2.66/32"), Classes: ClassSetOf(ClassBounce, ClassNotice), Class: ClassNotice, Summary: Summary{Events: 20, Since: 20000, Last: 20001, Until: 20008}},
		{Prefix: netip.MustParsePrefix("2001:db8::/48"), Classes: ClassSetOf(ClassManual), Class: ClassManual},
	}
	decision := Decision{
		List: true, Profile: "solo", Relapse: true, Classes: ClassSetOf(ClassBounce, ClassNotice), Class: ClassNotice, Events: 3,
		Thresholds: []Threshold{{"score", "3.0", "3.5", true}, {"span", "10m", "1h", true}},
		First:      codecTime, Last: codecTime.Add(time.Hour), Until: codecTime.Add(7 * 24 * time.Hour),
	}
	decided := AuditEntry{
		Number: 4, Time: codecTime, Action: ActionEvidence, By: Actor{UID: -1, Name: actorEvidence}, Reason: "the listing rule was met",
		Prefixes: []netip.Prefix{entries[0].Prefix}, Count: 1, Detail: must(json.Marshal(decision)), decision: &decision,
	}
	all := []codec{
		{
			"meta", keyState,
			meta{Commits: 7, Sequence: 1 << 40, Time: codecTime, Digest: 1 << 63, Entries: 3, Base: 5, Published: [32]byte{1}, Settings: [32]byte{2}, Newest: codecTime, Audit: 9, AuditHash: [32]byte{3}, Observations: 11, Widths: widths{120: 3}, AuditBase: 4, AuditStart: [32]byte{5}},
			func(k []byte, v any) []byte { m := v.(meta); return m.encode(k) },
			func(k, v []byte) (any, error) { return decodeMeta(k, v) },
		},
		{
			"record", v4,
			&record{
				Key:       key,
				Manual:    &manualPart{At: codecTime, Until: codecTime.Add(time.Hour), Reason: "why", By: "jdoe"},
				Evidence:  &evidencePart{Since: codecTime, Until: codecTime.Add(time.Hour), Last: codecTime, Events: 5, Classes: ClassSetOf(ClassBounce), Class: ClassBounce, Audit: 3},
				Published: entries[0].Summary, CountFrom: codecTime, Hold: codecTime, First: codecTime, Last: codecTime, Kept: 7, Wake: codecTime,
				Past: []Past{{Listed: codecTime, Removed: codecTime, By: ByEvidence, How: Delisted, Why: "asked"}},
			},
			func(k []byte, v any) []byte { return must(v.(*record).encode(lex, k)) },
			func(k, v []byte) (any, error) { return decodeRecord(lex, k, v) },
		},
		{
			"observation", append(appendTime(bytes.Clone(host), codecTime), bytes.Repeat([]byte{7}, 16)...),
			Observation{
				ID: ID(bytes.Repeat([]byte{7}, 16)), Addr: netip.MustParseAddr("2001:db8:1:2::25"), Class: ClassNotice, At: codecTime, Level: LevelB,
				Proofs: ProofSetOf(ProofTrap, ProofBATV), Reporter: "r", Organisation: "o", Sensor: "smtp", TrapDomain: "trap.example",
				Recipient: ID{9: 1}, Original: ID{8: 2}, SPFFailed: true, Delivered: true,
				Traces: Traces{MessageID: "<1@mx.example>", QueueID: "4F", ReportingMTA: "mx.example", Status: "5.1.1", Diagnostic: "550", HELO: "mx", PTR: "mx.example", Origin: netip.MustParseAddr("198.51.100.9"), FailedDomain: "x.example", Product: "qmail", Subject: ID{15: 3}, URLHosts: []string{"a.example", "b.example"}},
			},
			func(k []byte, v any) []byte { o := v.(Observation); return must(encodeObservation(lex, k, &o)) },
			func(k, v []byte) (any, error) { return decodeObservation(lex, k, v) },
		},
		{
			"text", lexiconKey(7), "a text",
			func(k []byte, v any) []byte { return encodeText(k, v.(string)) },
			func(k, v []byte) (any, error) { return decodeText(k, v) },
		},
		{
			"numbered text", textKey("a text"), "a text",
			func(k []byte, v any) []byte { return encodeNumbered(k, 7, v.(string)) },
			func(k, v []byte) (any, error) { _, text, err := decodeNumbered(k, v); return text, err },
		},
		{
			"stamp", []byte("an identity"), DateOf(codecTime).Time(),
			func(k []byte, v any) []byte { return encodeStamp(k, v.(time.Time)) },
			func(k, v []byte) (any, error) { return decodeStamp(k, v) },
		},
		{
			"exemption", exemptKey(netip.MustParsePrefix("2001:db8::/29"), true),
			Exemption{Prefix: netip.MustParsePrefix("2001:db8::/29"), Reason: "shared provider", Until: codecTime, Observe: true, BuiltIn: true, By: "jdoe", At: codecTime},
			func(k []byte, v any) []byte { x := v.(Exemption); return encodeExemption(k, &x) },
			func(k, v []byte) (any, error) { return decodeExemption(k, v) },
		},
		{
			"change", numberKey(77),
			Change{Sequence: 77, Time: codecTime, Removed: entries[:1], Added: entries},
			func(k []byte, v any) []byte { c := v.(Change); return encodeChange(k, &c) },
			func(k, v []byte) (any, error) { return decodeChange(k, v) },
		},
		{
			"audit", numberKey(3),
			AuditEntry{Number: 3, Time: codecTime, Action: ActionList, By: Actor{UID: -1, Name: "jdoe", Via: "offline"}, Reason: "why", Sequence: 5, Prefixes: []netip.Prefix{entries[0].Prefix, entries[1].Prefix, netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::1/128")}, Count: 4, Detail: json.RawMessage(`{"list":true}`), previous: sha256.Sum256(nil)},
			func(k []byte, v any) []byte { a := v.(AuditEntry); return encodeAudit(k, &a) },
			func(k, v []byte) (any, error) { return decodeAudit(k, v) },
		},
		{
			"audit of a decision", numberKey(4), decided,
			func(k []byte, v any) []byte { a := v.(AuditEntry); return encodeAudit(k, &a) },
			func(k, v []byte) (any, error) { return decodeAudit(k, v) },
		},
	}
	for _, c := range all {
		c.encode(c.key, c.value) // so that the lexicon knows all texts
	}
	return all, lex
}

func TestCodecs(t *testing.T) {
	t.Parallel()
	all, _ := codecs()
	for _, c := range all {
		value := c.encode(c.key, c.value)
		got, err := c.decode(c.key, value)
		if diff := cmp.Diff(c.value, got, codecCmp); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", c.name, err, diff)
		}
		t.Logf("%s: %d bytes", c.name, len(value))
		// Whatever bit flips, whatever is cut off, and under another key of its
		// kind: it is found.
		for bit := range 8 * len(value) {
			spoilt := bytes.Clone(value)
			spoilt[bit/8] ^= 1 << (bit % 8)
			if _, err := c.decode(c.key, spoilt); !errors.Is(err, ErrDamaged) {
				t.Fatalf("%s: bit %d flipped: %v", c.name, bit, err)
			}
		}
		for n := range value {
			if _, err := c.decode(c.key, value[:n]); !errors.Is(err, ErrDamaged) {
				t.Fatalf("%s: cut to %d: %v", c.name, n, err)
			}
		}
		for bit := range 8 * len(c.key) {
			other := bytes.Clone(c.key)
			other[bit/8] ^= 1 << (bit % 8)
			if _, err := c.decode(other, value); !errors.Is(err, ErrDamaged) {
				t.Fatalf("%s: under another key: %v", c.name, err)
			}
		}
	}
}

// What the listing rule is given of an observation is what all of it says.
func TestDecodeForTheRule(t *testing.T) {
	t.Parallel()
	found := 0
	all, lex := codecs()
	for _, c := range all {
		whole, ok := c.value.(Observation)
		if !ok {
			continue
		}
		found++
		value := c.encode(c.key, whole)
		got, err := decodeForRule(lex, c.key, value)
		if diff := cmp.Diff(whole.Evidence(2), got.Evidence(2), codecCmp); err != nil || diff != "" || got.Addr != whole.Addr || got.Reporter != whole.Reporter {
			t.Errorf("%s: %v (-whole +rule):\n%s", c.name, err, diff)
		}
		value[len(value)/2] ^= 1
		if _, err := decodeForRule(lex, c.key, value); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: spoilt: %v", c.name, err)
		}
	}
	if found == 0 {
		t.Error("there is no observation among the values")
	}
}

// FuzzCodecs gives each decoder bodies with a right checksum: it takes one
// apart into a value that survives the way there and back, or refuses it.
func FuzzCodecs(f *testing.F) {
	all, _ := codecs()
	for i, c := range all {
		value := c.encode(c.key, c.value)
		f.Add(i, c.key, value[:len(value)-sumBytes])
		if value[0] == observationVersion {
			o := c.value.(Observation)
			o.Traces = Traces{Status: "5.1.1"} // too short to squeeze, so the same in both versions
			value = c.encode(c.key, o)
			value[0] = observationVersion2
			f.Add(i, c.key, value[:len(value)-sumBytes])
		}
	}
	f.Fuzz(func(t *testing.T, kind int, key, body []byte) {
		all, _ := codecs()
		if kind < 0 || kind >= len(all) || len(body) == 0 {
			return
		}
		c := all[kind]
		e := &encoder{b: bytes.Clone(body)}
		first, err := c.decode(key, e.seal(key))
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("%s: %v", c.name, err)
			}
			return
		}
		value := c.encode(key, first)
		second, err := c.decode(key, value)
		if diff := cmp.Diff(first, second, codecCmp); err != nil || diff != "" {
			t.Fatalf("%s: %v (-first +second):\n%s", c.name, err, diff)
		}
	})
}

func TestPrefixKeysSort(t *testing.T) {
	t.Parallel()
	texts := []string{"0.0.0.0/1", "192.0.2.0/24", "192.0.2.0/32", "192.0.2.1/32", "255.0.0.0/8", "2001:db8::/32", "2001:db8::/48", "2001:db8::/64", "2001:db8:0:1::/64"}
	var last []byte
	for _, text := range texts {
		p := netip.MustParsePrefix(text)
		key := prefixKey(p)
		if got, ok := prefixOf(key); !ok || got != p {
			t.Errorf("%s comes back as %s %t", p, got, ok)
		}
		if bytes.Compare(last, key) >= 0 {
			t.Errorf("%s does not sort after the one before", p)
		}
		last = key
	}
}
