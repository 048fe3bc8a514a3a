// Package evidence turns a raw message into a judged finding: what kind of
// automatic message it is, which host sent it here, and whether it is proven
// that whoever received it never sent what it answers.
//
// The steps, each a pure function of its arguments:
//
//	Parse     raw bytes → Message: parts, headers, DSN fields, the returned original
//	Classify  Message → Classification: class, product, the rules that fired
//	Judge     Report → Finding: class, accused source and its level, proofs, guards
//
// The package knows no database, no DNS and no socket, starts no goroutine and
// reads no clock: the time comes in as an argument.
//
// Invariants:
//
//   - All input is hostile. Work is linear in the size of the message, memory is
//     bounded (see the budgets in walker.go), and no input panics.
//   - The accused address comes from the SMTP session or from a Received line
//     that a registered relay wrote. Nothing below that line, and nothing that a
//     HELO claims, can change it.
//   - Special-purpose addresses (RFC 6890) and registered relays are never
//     accused.
//   - A proof that is not known to hold does not count.
package evidence
