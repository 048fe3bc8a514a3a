package listing

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// lexicon numbers the texts that a great many values repeat: names of
// reporters, organisations, sensors, trap domains and products, and operators'
// reasons. Only texts of which this side has a say are in it, never those of
// which strangers make up new ones. A text keeps its number for ever.
//
// It is in the database twice, by number and by text, so that damage to the one
// can be mended from the other. A lexicon lives as long as the transaction that
// it was made for, and reads each text once.
type lexicon struct {
	b     bucket // none: what it was told alone
	texts map[uint64]string
	known map[string]uint64
}

func newLexicon(tx *bolt.Tx) *lexicon {
	if tx == nil {
		return &lexicon{}
	}
	return &lexicon{b: bucket{Bucket: tx.Bucket(bucketTexts)}}
}

// learn keeps what was found. The empty text is number 0, and nowhere.
func (l *lexicon) learn(n uint64, text string) {
	if l.texts == nil {
		l.texts, l.known = make(map[uint64]string), make(map[string]uint64)
	}
	l.texts[n], l.known[text] = text, n
}

// The first bytes of the keys.
const (
	lexiconNumber byte = 'n' // then the number: the text
	lexiconText   byte = 't' // then what [textKey] says: the number, and the text
)

// lexiconHashed is the length from which a text stands in a key as its hash.
const lexiconHashed = 64

func lexiconKey(number uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{lexiconNumber}, number)
}

func textKey(text string) []byte {
	if len(text) < lexiconHashed {
		return append([]byte{lexiconText}, text...)
	}
	sum := sha256.Sum256([]byte(text))
	return append([]byte{lexiconText}, append(sum[:], make([]byte, lexiconHashed-len(sum))...)...)
}

// number returns the number of a text, a new one if it has none. Only the
// writer may ask for a text that is not known.
func (l *lexicon) number(text string) (uint64, error) {
	if n, ok := l.known[text]; ok || text == "" {
		return n, nil
	}
	n, err := l.find(text)
	if err != nil {
		return 0, err
	}
	l.learn(n, text)
	return n, nil
}

func (l *lexicon) find(text string) (uint64, error) {
	if l.b.Bucket == nil {
		return uint64(len(l.texts)) + 1, nil
	}
	key := textKey(text)
	if value := l.b.Get(key); value != nil {
		// A damaged entry is as good as none: the text gets another number.
		if n, same, err := decodeNumbered(key, value); err == nil && same == text {
			return n, nil
		}
	}
	n := uint64(1)
	cursor := l.b.Cursor()
	last, _ := cursor.Seek([]byte{lexiconText})
	if last == nil {
		last, _ = cursor.Last()
	} else {
		last, _ = cursor.Prev()
	}
	if len(last) == 1+8 && last[0] == lexiconNumber {
		n = binary.BigEndian.Uint64(last[1:]) + 1
	}
	byNumber := lexiconKey(n)
	if err := l.b.Put(byNumber, encodeText(byNumber, text)); err != nil {
		return 0, fmt.Errorf("number a text: %w", err)
	}
	if err := l.b.Put(key, encodeNumbered(key, n, text)); err != nil {
		return 0, fmt.Errorf("number a text: %w", err)
	}
	return n, nil
}

// text returns the text of a number.
func (l *lexicon) text(n uint64) (string, error) {
	if text, ok := l.texts[n]; ok || n == 0 {
		return text, nil
	}
	if l.b.Bucket == nil {
		return "", fmt.Errorf("text %d is not known: %w", n, ErrDamaged)
	}
	text, err := readText(l.b.Bucket, n)
	if err != nil {
		return "", err
	}
	l.learn(n, text)
	return text, nil
}

// readText reads the text of a number, and looks through all texts when the
// entry of the number is damaged.
func readText(b *bolt.Bucket, n uint64) (string, error) {
	key := lexiconKey(n)
	if text, err := decodeText(key, b.Get(key)); err == nil {
		return text, nil
	}
	cursor := b.Cursor()
	for key, value := cursor.Seek([]byte{lexiconText}); key != nil; key, value = cursor.Next() {
		if found, text, err := decodeNumbered(key, value); err == nil && found == n {
			return text, nil
		}
	}
	return "", fmt.Errorf("text %d is not known: %w", n, ErrDamaged)
}

func encodeText(key []byte, text string) []byte {
	e := newEncoder(textVersion)
	e.text(text)
	return e.seal(key)
}

func decodeText(key, value []byte) (string, error) {
	d := openValue(key, value, textVersion)
	text := d.text()
	return text, d.finish()
}

func encodeNumbered(key []byte, n uint64, text string) []byte {
	e := newEncoder(textVersion)
	e.uint(n)
	e.text(text)
	return e.seal(key)
}

func decodeNumbered(key, value []byte) (uint64, string, error) {
	d := openValue(key, value, textVersion)
	n, text := d.uint(), d.text()
	if d.err == nil && !bytes.Equal(textKey(text), key) {
		d.fail("is of another text")
	}
	return n, text, d.finish()
}
