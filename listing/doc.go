// Package listing owns the list: which keys are listed, since when, until
// when and why; the policy that decides it; the bbolt file that keeps it; the
// serial and the journal of what was published; and the immutable [Snapshot]
// from which every answer and every export is made.
//
// It knows no DNS (names, records and files are package zonefile's), no mail
// (package evidence turns messages into an [Observation]) and no operator's
// interface. It imports nothing else of this module.
//
// Invariants:
//
//   - One goroutine, [Store.Run], writes. A change is one transaction: commit
//     (fsync), then the next snapshot, then the swap of the published pointer,
//     then the answer to whoever asked for the change.
//   - Readers hold a [Snapshot]. They never touch the database, never take a
//     lock, and never read the clock: only the writer removes what has expired.
//   - The serial moves when, and only when, what is published changes.
//   - Published entries never overlap, and none lies inside an exemption.
//   - An address is unmapped (RFC 4291 §2.5.5.2) and a prefix is masked once,
//     when a [Key] is made; after that the type proves it.
package listing
