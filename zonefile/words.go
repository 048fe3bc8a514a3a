package zonefile

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"backscatter/listing"
)

// readWords is the reverse of appendWords: it returns the entry that tells, with
// the given class, just these words. Which classes a mixed entry is about beside
// its own they do not say; any other makes the same words.
func readWords(class listing.Class, words []byte) (listing.Entry, error) {
	e := listing.Entry{Class: class, Classes: listing.ClassSetOf(class)}
	deed, rest, ok := strings.Cut(strings.TrimPrefix(string(words), " backscatter: "), ";")
	if ok {
		end, _, _ := strings.Cut(rest, ";")
		e.Summary.Until = dateBehind(end, " expires ")
		if class == listing.ClassManual {
			e.Summary.Since = dateBehind(deed, " on ")
		} else {
			e.Summary.Last = dateBehind(deed, ", last ")
			e.Summary.Events = countIn(deed)
			if strings.Contains(deed, " among them") {
				e.Classes |= listing.ClassSetOf(otherThan(class))
			}
		}
		// Whatever was not understood is not told again, and so is seen.
		var told [maxText]byte
		if ok = bytes.Equal(appendWords(told[:0], e), words); ok {
			return e, nil
		}
	}
	return listing.Entry{}, fmt.Errorf("%q: not the words of an entry of class %s", words, class)
}

func otherThan(class listing.Class) listing.Class {
	if class == listing.ClassBounce {
		return listing.ClassNotice
	}
	return listing.ClassBounce
}

// dateBehind reads the day that follows a phrase; no day when there is none.
func dateBehind(text, phrase string) listing.Date {
	_, text, ok := strings.Cut(text, phrase)
	if !ok || len(text) < len(time.DateOnly) {
		return 0
	}
	day, err := time.Parse(time.DateOnly, text[:len(time.DateOnly)])
	if err != nil {
		return 0
	}
	return listing.DateOf(day)
}

// countIn reads the number before the first word, or 0.
func countIn(deed string) uint16 {
	number, _, _ := strings.Cut(strings.TrimPrefix(deed, "at least "), " ")
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		return 0
	}
	return uint16(n)
}

// readTold reads ":127.0.0.N:" and what follows it up to the words: the variable
// of the URL, if the zone has one, and the subject, "$" or a prefix.
func readTold(value []byte, subject string, hasURL bool) (listing.Entry, error) {
	code, text, ok := bytes.Cut(bytes.TrimPrefix(value, []byte(":")), []byte(":"))
	class, known := readCode(code)
	if !ok || !known || !listing.AllClasses.Has(class) {
		return listing.Entry{}, fmt.Errorf("%q: want a code and a text", value)
	}
	if hasURL {
		text, ok = bytes.CutPrefix(text, []byte("$1"))
	}
	words, about := bytes.CutPrefix(text, []byte(subject))
	if !ok || !about {
		return listing.Entry{}, errors.New("the text is not about what stands in the line")
	}
	return readWords(class, words)
}
