package evidence

import (
	"net/netip"
	"slices"
	"time"

	"backscatter/listing"
)

// attribution is who is accused, and how that is known.
type attribution struct {
	level  listing.Level
	source netip.Addr // invalid when nobody can be accused
	helo   string
	ptr    string
	at     time.Time // when the trusted host took the message, zero when it does not say
	queue  string    // queue id by the word of the source itself
	rcpt   string    // recipient by the word of the trusted host
	line   int       // the Received line above which no stranger wrote
}

// maxTrail bounds the Received lines that are read of one header (RFC 5321
// §6.3 calls 100 a loop).
const maxTrail = 100

// trail reads the Received lines of a header, the newest first.
func trail(h *Header) []Received {
	values := h.Values("Received")
	lines := make([]Received, 0, min(len(values), maxTrail))
	for _, v := range values[:min(len(values), maxTrail)] {
		lines = append(lines, ParseReceived(v))
	}
	return lines
}

// attribute finds the host outside that handed the message to the first
// trusted one.
//
// Who held the session names its client. A client that is a registered relay
// wrote the topmost Received line, and is followed to the host that handed the
// message to it; and so on, down to the first address that is no relay. What
// lies below was written by that host, and is not read. Where no client is
// known, the message was taken out of the reporter's own mailbox, and its
// topmost line was written by the reporter's own host; a sensor that had a
// session with a client whom it does not know says so ([Report.Nobody]), since
// that client wrote the topmost line.
//
// "by" names are claims that anybody can make, so they decide nothing.
func attribute(r Report, lines []Received, relays, listable []netip.Prefix) attribution {
	a := attribution{level: listing.LevelC}
	client := r.Envelope.Client.Unmap().WithZone("")
	if r.Nobody {
		return a
	}
	if r.Hearsay {
		return a.hearsay(r, relays, listable)
	}
	if client.IsValid() && !trusted(client, relays) {
		a.source, a.helo, a.ptr, a.at = client, r.Envelope.HELO, r.Envelope.PTR, r.Received
		a.level = listing.LevelB
		if r.Held {
			a.level = listing.LevelA
		}
		if len(lines) > 0 {
			a.queue = lines[0].ID
		}
		return a.checked(listable)
	}
	for i, line := range lines {
		a.line = i
		if a.at.IsZero() {
			a.at = line.Date
		}
		if a.rcpt == "" {
			a.rcpt = line.For
		}
		switch {
		case line.Internal:
			continue // the trusted host passed it on within itself
		case line.Local && (line.Addr.IsLoopback() || !contains(relays, line.Addr)):
			return a // whoever handed it in could have written all that follows
		case !line.Addr.IsValid():
			return a // somebody connected, and the line does not say who
		case trusted(line.Addr, relays):
			continue // the next line was written by a relay
		}
		a.source, a.helo, a.ptr = line.Addr, line.HELO, line.PTR
		a.level = listing.LevelB
		if i+1 < len(lines) {
			a.queue = lines[i+1].ID
		}
		return a.checked(listable)
	}
	return a
}

// hearsay names the client that somebody tells of, who could have written all the
// lines as well.
func (a attribution) hearsay(r Report, relays, listable []netip.Prefix) attribution {
	if client := r.Envelope.Client.Unmap().WithZone(""); client.IsValid() && !trusted(client, relays) {
		a.source, a.at = client, r.Received
	}
	return a.checked(listable)
}

// checked withdraws the accusation of an address that is no public host.
func (a attribution) checked(listable []netip.Prefix) attribution {
	if _, special := listing.IsSpecial(a.source, listable); special {
		a.source, a.level = netip.Addr{}, listing.LevelC
	}
	return a
}

// trusted reports whether addr is a registered relay. A host that takes a
// message from its own loopback address is still the same host.
func trusted(addr netip.Addr, relays []netip.Prefix) bool {
	return addr.IsLoopback() || contains(relays, addr)
}

func contains(prefixes []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}
