package listing

import (
	"encoding/binary"
	"fmt"
)

// Texts of an observation of version 2 are packed: what stood in them before, or
// stands in packWords, is told by where and how long. Those of now are squeezed.
//
// A packed text is a row of tokens. A first byte below 0x80 says how many bytes
// follow as they are, less one; any other, how many bytes to copy, less
// minMatch, and after it a varint says from how far back, with packWords before
// the beginning of the text.
const (
	minMatch   = 4
	maxLiteral = 0x80
	maxMatch   = 0x7f + minMatch
	// maxUnpacked is more than the texts of any observation.
	maxUnpacked = 16 << 10
	packHash    = 10 // bits
)

// packWords is what mail servers say. It is part of the format: it must never
// change.
const packWords = "smtp; 550 5.1.1 <x-unix; 554 5.7.1 451 4.7.1 421 4.4.2 552 5.2.2 Mailbox full over quota 553 5.3.0 571 " +
	"delivery temporarily suspended: connect to : Connection timed out: No route to host Connection refused " +
	"Message rejected as spam Access denied by policy relaying denied Recipient address rejected: " +
	"User unknown in virtual mailbox table local recipient virtual alias table relay recipient table " +
	"Requested action not taken: mailbox unavailable No such user here does not exist or is disabled " +
	"The email account that you tried to reach does not exist. Please try double-checking the recipient's " +
	"email address for typos or unnecessary spaces. Sorry, no mailbox here by that name. (#5.1.1) " +
	"Unrouteable address unknown user account unknown or illegal alias host said: 550 " +
	"(in reply to RCPT TO command) (in reply to end of DATA command) dns; RecipNotFound; Recipient not found by SMTP address lookup " +
	".outlook.com .prod.protection.google.com .secureserver.net .mail.protection.outlook.com localhost.localdomain " +
	"static.host.dynamic.customer.server.relay.gateway.mail.smtp.mx.ns.www.exchange.postfix.org.net.de.fr.co.uk.com>"

// packTable says where in packWords four bytes stand last.
var packTable = func() (table [1 << packHash]uint16) {
	for i := range len(packWords) - minMatch {
		table[packSlot([]byte(packWords[i:i+minMatch]))] = uint16(i + 1)
	}
	return table
}()

func packSlot(b []byte) uint32 { return binary.LittleEndian.Uint32(b) * 2654435761 >> (32 - packHash) }

// unpack returns the texts of a value of version 2.
func unpack(b []byte) ([]byte, error) {
	window := append(make([]byte, 0, len(packWords)+4*len(b)), packWords...)
	for len(b) > 0 {
		token := int(b[0])
		b = b[1:]
		if token < maxLiteral {
			if token >= len(b) {
				return nil, fmt.Errorf("value has packed texts that end early: %w", ErrDamaged)
			}
			window = append(window, b[:token+1]...)
			b = b[token+1:]
		} else {
			back, n := binary.Uvarint(b)
			if n <= 0 || back == 0 || back > uint64(len(window)) {
				return nil, fmt.Errorf("value has packed texts that begin nowhere: %w", ErrDamaged)
			}
			b = b[n:]
			at := len(window) - int(back)
			for range token - maxLiteral + minMatch { // what is copied may reach into the copy
				window = append(window, window[at])
				at++
			}
		}
		if len(window)-len(packWords) > maxUnpacked {
			return nil, fmt.Errorf("value has packed texts of more than %d bytes: %w", maxUnpacked, ErrDamaged)
		}
	}
	return window[len(packWords):], nil
}
