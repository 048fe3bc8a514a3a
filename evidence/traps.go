package evidence

import (
	"errors"
	"fmt"
	"strings"
)

// ErrTrap is wrapped by every error about the configuration of traps.
var ErrTrap = errors.New("not a valid trap")

// Trap is an address that never sends mail, or all addresses of a domain but
// its senders. Exactly one of Domain and Address is set.
type Trap struct {
	Domain  string
	Address string
	Senders []string // addresses, or local parts, of Domain that do send mail
}

// Traps tells trap addresses from others. It is immutable and safe for
// concurrent use.
type Traps struct {
	domains   map[string]map[string]bool // domain → local parts that send
	addresses map[string]string          // address → its domain
	served    map[string]bool            // every domain in which there is a trap
}

// NewTraps builds the table of traps, and reports all that is wrong with it.
func NewTraps(traps []Trap) (*Traps, error) {
	t := &Traps{
		domains:   map[string]map[string]bool{},
		addresses: map[string]string{},
		served:    map[string]bool{},
	}
	var errs []error
	for i, trap := range traps {
		if err := t.add(trap); err != nil {
			errs = append(errs, fmt.Errorf("trap %d: %w", i+1, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *Traps) add(trap Trap) error {
	switch {
	case trap.Domain != "" && trap.Address != "":
		return fmt.Errorf("both domain %q and address %q are given, want one: %w", trap.Domain, trap.Address, ErrTrap)
	case trap.Address != "":
		local, domain, ok := splitAddress(trap.Address)
		if !ok {
			return fmt.Errorf("address %q: want local@domain: %w", trap.Address, ErrTrap)
		}
		if len(trap.Senders) > 0 {
			return fmt.Errorf("address %q: senders belong to a domain: %w", trap.Address, ErrTrap)
		}
		t.addresses[local+"@"+domain] = domain
		t.served[domain] = true
		return nil
	case trap.Domain != "":
		return t.addDomain(trap)
	}
	return fmt.Errorf("neither domain nor address is given: %w", ErrTrap)
}

func (t *Traps) addDomain(trap Trap) error {
	domain := normalDomain(trap.Domain)
	if domain == "" || strings.ContainsAny(domain, "@ \t") {
		return fmt.Errorf("domain %q: want a domain name: %w", trap.Domain, ErrTrap)
	}
	senders := t.domains[domain] // a domain that is there twice has the senders of both
	if senders == nil {
		senders = map[string]bool{}
	}
	for _, sender := range trap.Senders {
		local := strings.ToLower(unquoted(sender))
		if l, d, ok := splitAddress(sender); ok {
			if d != domain {
				return fmt.Errorf("sender %q is not in domain %s: %w", sender, domain, ErrTrap)
			}
			local = l
		}
		senders[local] = true
	}
	t.domains[domain] = senders
	t.served[domain] = true
	return nil
}

// IsTrap reports whether mail to rcpt is mail to an address that never sends,
// and returns the domain of the trap. What belongs to a sender is no trap either,
// since the bounces of that sender's own mail go there. Case does not matter, as no mail system
// in use tells addresses apart by it.
func (t *Traps) IsTrap(rcpt string) (string, bool) {
	if t == nil {
		return "", false
	}
	local, domain, ok := splitAddress(rcpt)
	if !ok {
		return "", false
	}
	if d, ok := t.addresses[local+"@"+domain]; ok {
		return d, true
	}
	senders, ok := t.domains[domain]
	if !ok || senders[local] || senders[mailbox(local)] {
		return "", false
	}
	return domain, true
}

// mailbox returns the local part behind one that a mail system derived from it:
// with a detail ("jane+news", RFC 5233) or a BATV tag ("prvs=0123456789=jane").
func mailbox(local string) string {
	if tagged, ok := strings.CutPrefix(local, "prvs="); ok {
		if _, untagged, ok := strings.Cut(tagged, "="); ok {
			local = untagged
		}
	}
	local, _, _ = strings.Cut(local, "+")
	return local
}

// Accepts reports whether rcpt lies in a domain that the trap serves, so that
// an SMTP trap answers for it. In a domain with single trap addresses only
// those are answered for.
func (t *Traps) Accepts(rcpt string) bool {
	_, ok := t.IsTrap(rcpt)
	return ok
}

// Domains returns how many domains hold a trap.
func (t *Traps) Domains() int {
	if t == nil {
		return 0
	}
	return len(t.served)
}

// splitAddress returns the lower-cased local part and domain of an address,
// with or without angle brackets.
func splitAddress(address string) (local, domain string, ok bool) {
	address = strings.TrimSpace(address)
	if n := len(address); n >= 2 && address[0] == '<' && address[n-1] == '>' {
		address = address[1 : n-1]
	}
	at := strings.LastIndexByte(address, '@')
	if at <= 0 || len(address) > maxAddress {
		return "", "", false
	}
	domain = normalDomain(address[at+1:])
	if domain == "" || strings.ContainsAny(domain, " \t<>@") {
		return "", "", false
	}
	return strings.ToLower(unquoted(address[:at])), domain, true
}

// unquoted returns a local part as it is meant, without the quotes that it may
// be written with (RFC 5321 §4.1.2).
func unquoted(local string) string {
	n := len(local)
	if n < 3 || local[0] != '"' || local[n-1] != '"' {
		return local
	}
	var b strings.Builder
	for i := 1; i < n-1; i++ {
		if local[i] == '\\' && i+1 < n-1 {
			i++
		}
		b.WriteByte(local[i])
	}
	return b.String()
}

func normalDomain(domain string) string {
	return strings.ToLower(strings.TrimSuffix(strings.TrimSpace(domain), "."))
}

// maxAddress bounds addresses; RFC 5321 §4.5.3.1 allows 64 + 1 + 255 octets.
const maxAddress = 320
