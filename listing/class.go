package listing

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Class is the kind of backscatter that a listing is about. Its value is the
// last octet of the address that the list answers with (RFC 5782 §2.1): a
// bounce, class 2, answers 127.0.0.2. Zero is a message that is no backscatter.
type Class uint8

// The classes, with their codes.
const (
	ClassOther     Class = 0 // no backscatter; never listed
	ClassBounce    Class = 2 // delivery status notification, RFC 3464 or free text
	ClassNotice    Class = 3 // "you sent a virus", "your message was quarantined"
	ClassAutoreply Class = 4 // vacation, out of office, ticket received
	ClassChallenge Class = 5 // "confirm that you are human"
	ClassCallout   Class = 6 // sender verification without a message; counted, not listed by default
	ClassManual    Class = 9 // listed by an operator
)

// Classes lists every class that can be answered, heaviest first; of two with
// one weight the lower code stands first.
var Classes = []Class{
	ClassNotice, ClassBounce, ClassChallenge, ClassAutoreply, ClassCallout, ClassManual,
}

var classNames = map[Class]string{
	ClassOther:     "other",
	ClassBounce:    "bounce",
	ClassNotice:    "notice",
	ClassAutoreply: "autoreply",
	ClassChallenge: "challenge",
	ClassCallout:   "callout",
	ClassManual:    "manual",
}

// String returns the name of the class as configuration and JSON write it.
func (c Class) String() string {
	if name, ok := classNames[c]; ok {
		return name
	}
	return fmt.Sprintf("class(%d)", uint8(c))
}

// ParseClass returns the class with the given name.
func ParseClass(name string) (Class, error) {
	for c, n := range classNames {
		if n == name {
			return c, nil
		}
	}
	return ClassOther, fmt.Errorf("class %q: want one of bounce, notice, autoreply, challenge, callout, manual, other", name)
}

// Valid reports whether c is one of the classes above.
func (c Class) Valid() bool {
	_, ok := classNames[c]
	return ok
}

// MarshalText writes the class's name.
func (c Class) MarshalText() ([]byte, error) {
	if !c.Valid() {
		return nil, fmt.Errorf("class %d has no name", uint8(c))
	}
	return []byte(c.String()), nil
}

// UnmarshalText reads a class's name.
func (c *Class) UnmarshalText(text []byte) error {
	parsed, err := ParseClass(string(text))
	if err != nil {
		return err
	}
	*c = parsed
	return nil
}

// Weight is what one observation of the class adds to the score of its
// source, before reporter, context and age are taken into account. An operator's
// listing has no weight: it needs no score.
func (c Class) Weight() float64 {
	switch c {
	case ClassNotice:
		return 1.5
	case ClassBounce, ClassChallenge:
		return 1
	case ClassAutoreply:
		return 0.5
	default:
		return 0
	}
}

// ClassSet is a set of classes, one bit for each code.
type ClassSet uint16

// ClassSetOf returns the set of the given classes.
func ClassSetOf(classes ...Class) ClassSet {
	var s ClassSet
	for _, c := range classes {
		s |= 1 << c
	}
	return s
}

// AllClasses is the set of every class that can be answered.
var AllClasses = ClassSetOf(Classes...)

// Has reports whether the set holds c.
func (s ClassSet) Has(c Class) bool { return s&(1<<c) != 0 }

// Heaviest returns the class of the set with the most weight, or ClassOther
// when the set is empty. Of two with one weight it is the one with the lower
// code; who knows which is the newer must decide for itself.
func (s ClassSet) Heaviest() Class {
	for _, c := range Classes {
		if s.Has(c) {
			return c
		}
	}
	return ClassOther
}

// Slice returns the classes of the set, heaviest first.
func (s ClassSet) Slice() []Class {
	var out []Class
	for _, c := range Classes {
		if s.Has(c) {
			out = append(out, c)
		}
	}
	return out
}

// String returns the names of the set's classes, heaviest first, with commas.
func (s ClassSet) String() string {
	names := make([]string, 0, len(Classes))
	for _, c := range s.Slice() {
		names = append(names, c.String())
	}
	return strings.Join(names, ",")
}

// MarshalJSON writes the set as an array of names, heaviest class first.
func (s ClassSet) MarshalJSON() ([]byte, error) {
	return json.Marshal(append([]Class{}, s.Slice()...))
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (s *ClassSet) UnmarshalJSON(text []byte) error {
	var classes []Class
	if err := json.Unmarshal(text, &classes); err != nil {
		return fmt.Errorf("read classes: %w", err)
	}
	set := ClassSetOf(classes...)
	if other := set &^ AllClasses; other != 0 {
		return fmt.Errorf("classes %s: some of them are never listed", text)
	}
	*s = set
	return nil
}
