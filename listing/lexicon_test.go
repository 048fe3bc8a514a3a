package listing

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// A text keeps its number in every transaction, and outlives damage to one of
// its two entries.
func TestLexicon(t *testing.T) {
	t.Parallel()
	db, err := bolt.Open(filepath.Join(t.TempDir(), "texts.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	texts := []string{"local", "trap.example", strings.Repeat("x", lexiconHashed), strings.Repeat("x", lexiconHashed+1), "", "n"}
	numbers := make([]uint64, len(texts))
	update := func(fn func(b *bolt.Bucket, lex *lexicon)) {
		t.Helper()
		err := db.Update(func(tx *bolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists(bucketTexts)
			fn(b, newLexicon(tx))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for round := range 2 {
		update(func(_ *bolt.Bucket, lex *lexicon) {
			for i, text := range texts {
				n, err := lex.number(text)
				if err != nil || round == 1 && n != numbers[i] {
					t.Errorf("%.10q: %d, before %d, %v", text, n, numbers[i], err)
				}
				numbers[i] = n
			}
		})
	}
	flip := func(b *bolt.Bucket, key []byte) {
		value := bytes.Clone(b.Get(key))
		value[len(value)/2] ^= 1
		if err := b.Put(key, value); err != nil {
			t.Error(err)
		}
	}
	update(func(b *bolt.Bucket, _ *lexicon) { flip(b, lexiconKey(numbers[0])) })
	update(func(_ *bolt.Bucket, lex *lexicon) {
		if text, err := lex.text(numbers[0]); err != nil || text != texts[0] {
			t.Errorf("%q %v", text, err)
		}
	})
	update(func(b *bolt.Bucket, _ *lexicon) { flip(b, textKey(texts[0])) })
	update(func(_ *bolt.Bucket, lex *lexicon) {
		if text, err := lex.text(numbers[0]); !errors.Is(err, ErrDamaged) {
			t.Errorf("%q %v", text, err)
		}
		if n, err := lex.number(texts[0]); err != nil || n <= numbers[len(numbers)-1] {
			t.Errorf("a text whose entry is damaged got number %d, %v", n, err)
		}
	})
}
