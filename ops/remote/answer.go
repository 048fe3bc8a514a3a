package remote

import (
	"net/netip"
	"strings"
	"unicode"

	"backscatter/evidence"
	"backscatter/listing"
)

// Answer is what became of one report. It tells the reporter nothing of what
// others reported.
type Answer struct {
	Index   int              `json:"index"` // of the report in the request, from 0
	Verdict evidence.Verdict `json:"verdict"`
	Reason  string           `json:"reason"` // why it is not proven; of one that was sent before: duplicate
	Class   listing.Class    `json:"class"`
	Level   listing.Level    `json:"level"`
	Source  netip.Addr       `json:"source"`         // the accused; empty when nobody can be
	Key     string           `json:"key,omitempty"`  // the key of the list that it counts for
	Event   listing.ID       `json:"event,omitzero"` // names the observation, to ask the list's operator about
}

// maxReason bounds the reason of an answer.
const maxReason = 500

// tellable returns a reason that is no longer than that, and printable: what is
// wrong with a report may be told in its own words.
func tellable(reason string) string {
	reason = strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "")
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, reason)
}

func answerOf(index int, f evidence.Finding) Answer {
	a := Answer{Index: index, Verdict: f.Verdict, Reason: tellable(f.Reason), Class: f.Class, Level: f.Level, Source: f.Source}
	if o, ok := f.Observation(); ok {
		a.Event = o.ID
		if key, err := listing.HostKey(o.Addr); err == nil {
			a.Key = key.String()
		}
	}
	return a
}

// Refusal is an answer to a request that was not taken.
type Refusal struct {
	Error struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}
