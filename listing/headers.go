package listing

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
)

// MaxHeader bounds the header that is kept of one report.
const MaxHeader = 16 << 10

// mostHeaderTime is the longest that headers may be kept.
const mostHeaderTime = 365 * 24 * time.Hour

// KeepHeaders says whether the headers of reports are kept beside the
// observations, and how much of them.
type KeepHeaders struct {
	For   time.Duration `json:"for"`   // 0: none are
	Bytes int64         `json:"bytes"` // all together; with more, the oldest go
}

// Validate reports everything that is wrong with the bounds.
func (k KeepHeaders) Validate() error {
	var errs []error
	if k.For < 0 || k.For > mostHeaderTime {
		errs = append(errs, fmt.Errorf("keep %s: want 0 (none are kept) to %s", words(k.For), words(mostHeaderTime)))
	}
	if k.Bytes < 0 || k.For > 0 && k.Bytes < 2*MaxHeader {
		errs = append(errs, fmt.Errorf("bytes %d: want %d or more", k.Bytes, 2*MaxHeader))
	}
	return errors.Join(errs...)
}

// Header is the header of one report, for operators: who sent it may say
// anything there. It has no local part of an address, and no subject.
type Header struct {
	ID   ID        `json:"id"` // of the observation
	At   time.Time `json:"at"`
	Text string    `json:"text"` // a field a line
}

// headerCount is what there is of headers: one value beside the state, since few
// transactions change it.
type headerCount struct{ n, bytes uint64 }

func (h headerCount) encode() []byte {
	e := newEncoder(headerCountVersion)
	e.uint(h.n)
	e.uint(h.bytes)
	return e.seal(keyHeaders)
}

// readHeaderCount returns what the store says of its headers.
func readHeaderCount(tx *bolt.Tx) (h headerCount, err error) {
	value := tx.Bucket(bucketMeta).Get(keyHeaders)
	if value == nil {
		return h, nil
	}
	d := openValue(keyHeaders, value, headerCountVersion)
	h = headerCount{d.uint(), d.uint()}
	if err := d.finish(); err != nil {
		return headerCount{}, fmt.Errorf("the count of headers: %w", err)
	}
	return h, nil
}

// headerCount returns what there is of headers, also when that cannot be read and there
// is none.
func (c *change) headerCount() (headerCount, error) {
	h, err := readHeaderCount(c.tx)
	if first, _ := c.bucket(bucketHeaders).Cursor().First(); err != nil && first == nil {
		return headerCount{}, nil
	}
	return h, err
}

// headerKey stands in the order of time, in which headers are dropped: the time,
// then what else there is in the key of the observation.
func headerKey(k Key, at time.Time, id ID) []byte {
	return append(append(appendTime(make([]byte, 0, timeBytes+keyBytes6+len(id)), at), prefixKey(k.Prefix())...), id[:]...)
}

func encodeHeader(key []byte, text string) []byte {
	e := newEncoder(headerVersion)
	e.text(text)
	return e.seal(key)
}

func decodeHeader(key, value []byte) (string, error) {
	_, id, ok := cutPrefix(key[min(timeBytes, len(key)):])
	d := openValue(key, value, headerVersion)
	text := d.text()
	if !ok || len(id) != len(ID{}) {
		d.fail("stands under no key of a header")
	}
	if err := d.finish(); err != nil {
		return "", fmt.Errorf("header %x: %w", key, err)
	}
	return text, nil
}

// makeHeaders makes the bucket in a store of before there was one.
func makeHeaders(tx *bolt.Tx) error {
	if tx.Bucket(bucketHeaders) != nil {
		return nil
	}
	if _, err := tx.CreateBucket(bucketHeaders); err != nil {
		return fmt.Errorf("bucket %s: %w", bucketHeaders, err)
	}
	return tx.Bucket(bucketMeta).Delete(keyHeaders)
}

// clipHeader cuts a header to whole lines within its bound.
func clipHeader(text string) string {
	if len(text) > MaxHeader {
		text = text[:strings.LastIndexByte(text[:MaxHeader+1], '\n')+1]
	}
	return strings.ToValidUTF8(text, "")
}

// keepHeader keeps the header of an observation that is kept itself, in place of
// the oldest others where there are too many. A header is a help and no evidence:
// what goes wrong with it is told, and is no reason to refuse the observation.
func (c *change) keepHeader(k Key, o *Observation) error {
	bounds := c.settings.Headers
	if bounds.For == 0 || o.Headers == "" {
		return nil
	}
	count, err := c.headerCount()
	if err != nil {
		c.log.Error("a header is not kept; when those that are there have had their time, others are", slog.Any("err", err))
		return nil
	}
	key := headerKey(k, o.At, o.ID)
	value := encodeHeader(key, o.Headers)
	b := c.bucket(bucketHeaders)
	for cursor := b.Cursor(); count.n > 0 && count.bytes+uint64(len(value)) > uint64(bounds.Bytes); {
		oldest, old := cursor.First()
		if oldest == nil {
			break
		}
		if err := c.dropHeader(&count, oldest, old); err != nil {
			return err
		}
	}
	if err := b.Put(key, value); err != nil {
		return fmt.Errorf("write the header of observation %s: %w", o.ID, err)
	}
	count.n++
	count.bytes += uint64(len(value))
	return c.putHeaderCount(count)
}

func (c *change) putHeaderCount(count headerCount) error {
	c.wrote = true
	if err := c.bucket(bucketMeta).Put(keyHeaders, count.encode()); err != nil {
		return fmt.Errorf("count the headers: %w", err)
	}
	return nil
}

// dropHeader takes out a header; value may not be used afterwards.
func (c *change) dropHeader(count *headerCount, key, value []byte) error {
	c.wrote = true
	count.n -= min(count.n, 1)
	count.bytes -= min(count.bytes, uint64(len(value)))
	if err := c.bucket(bucketHeaders).Delete(bytes.Clone(key)); err != nil {
		return fmt.Errorf("drop header %x: %w", key, err)
	}
	return nil
}

// dropHeaderOf takes out the header of an observation that is to go, if there is
// one.
func (c *change) dropHeaderOf(observation []byte) error {
	p, rest, ok := cutPrefix(observation)
	if !ok || len(rest) != timeBytes+len(ID{}) {
		return nil
	}
	key := append(append(bytes.Clone(rest[:timeBytes]), prefixKey(p)...), rest[timeBytes:]...)
	value := c.bucket(bucketHeaders).Get(key)
	if value == nil {
		return nil
	}
	count, uncounted := c.headerCount()
	if err := c.dropHeader(&count, key, value); err != nil || uncounted != nil {
		return err
	}
	return c.putHeaderCount(count)
}

// pruneHeaders drops the headers whose time is over: all of them, when none are
// to be kept any more.
func (w *writer) pruneHeaders(c *change) error {
	cursor := c.bucket(bucketHeaders).Cursor()
	key, value := cursor.First()
	due := func() bool {
		return key != nil && (len(key) < timeBytes || c.settings.Headers.For == 0 || c.now.Sub(timeOf(key)) > c.settings.Headers.For)
	}
	if !due() {
		return nil
	}
	count, uncounted := c.headerCount()
	for n := 0; n < headerStep && due(); n++ {
		if err := c.dropHeader(&count, key, value); err != nil {
			return err
		}
		w.dropped[prunedHeaders]++
		key, value = cursor.First()
	}
	if w.more = w.more || due(); uncounted != nil {
		count, uncounted = c.headerCount()
	}
	if uncounted != nil {
		return nil //nolint:nilerr // told by who adds to it, and by Verify; it keeps none from its end
	}
	return c.putHeaderCount(count)
}

// headerStep bounds the headers that one transaction drops: each frees pages.
const headerStep = 200

// Headers returns the headers that are kept of the newest observations of a key,
// newest first.
func (s *Store) Headers(k Key) ([]Header, error) {
	out := []Header{}
	err := s.view(func(tx *bolt.Tx, _ time.Time) error {
		headers := tx.Bucket(bucketHeaders)
		observations(tx, s.log, k, time.Time{}, decodeForRule, func(o Observation) bool {
			key := headerKey(k, o.At, o.ID)
			value := headers.Get(key)
			if value == nil {
				return true
			}
			text, err := decodeHeader(key, value)
			if err != nil {
				s.log.Error("a header is damaged and not shown", slog.Any("err", err))
				return true
			}
			out = append(out, Header{ID: o.ID, At: o.At, Text: text})
			return len(out) < explainLimit
		})
		return nil
	})
	return out, err
}

// headers reads every header, and counts them anew.
func (v *Verdict) headers(tx *bolt.Tx) {
	b := tx.Bucket(bucketHeaders)
	if b == nil {
		return // a store of before there were any
	}
	found, broken := countHeaders(b)
	for _, err := range broken {
		v.damage("headers", "", repairHeaders, err.Error())
	}
	v.Headers = found.n
	count, err := readHeaderCount(tx)
	switch {
	case err != nil:
		v.damage("state", "", repairCount, err.Error())
	case count != found:
		v.damage("state", "", repairCount, fmt.Sprintf("there are %d headers of %d bytes, not %d of %d", found.n, found.bytes, count.n, count.bytes))
	}
}

// countHeaders tells what there is, and of what cannot be read.
func countHeaders(b *bolt.Bucket) (found headerCount, broken []error) {
	_ = b.ForEach(func(key, value []byte) error {
		found.n++
		found.bytes += uint64(len(value))
		if _, err := decodeHeader(key, value); err != nil {
			broken = append(broken, err)
		}
		return nil
	})
	return found, broken
}

// headers drops the headers that cannot be read, and counts the others.
func (r *repair) headers() error {
	b := r.tx.Bucket(bucketHeaders)
	var lost [][]byte
	_ = b.ForEach(func(key, value []byte) error {
		if _, err := decodeHeader(key, value); err != nil {
			lost = append(lost, bytes.Clone(key))
		}
		return nil
	})
	for _, key := range lost {
		if err := b.Delete(key); err != nil {
			return err
		}
	}
	found, _ := countHeaders(b)
	return r.tx.Bucket(bucketMeta).Put(keyHeaders, found.encode())
}
