// Package intake owns the sensors: what takes reports in from the outside, and
// the desk where they are handed in. An SMTP trap ([SMTP]) holds the sessions
// itself, and takes by LMTP what a mail server hands over; a [Milter] watches
// the mail that passes one; [Walk], [Complaints] and [Records] read what is on
// disk already. All end at a [Sink], which in the daemon is the [Desk]: it judges,
// gives what is proven to the store, and says what became of it. Between a sensor
// that cannot ask for a report again and the desk there is a [Spool].
//
// The package knows no database (the store is an interface at the desk), no
// DNS, and no configuration file. It never sends mail of any kind.
//
// Invariants:
//
//   - What passed the milter is on disk before it passes, or counted as lost. The
//     milter holds up no mail, whatever goes wrong behind it.
//   - The trap accepts recipients that are traps, and nobody else: it is no
//     relay.
//   - A sender is told 250 only after [Sink.Submit] returned without an error,
//     which is after the store's commit. A sender that was told anything else
//     still has its message.
//   - Nothing that did not arrive whole is submitted: a session that breaks off
//     in the middle of a message leaves nothing behind.
//   - Every size, count and time is bounded, for one session and for all
//     together (see [Limits]). A mailbox of any size is read in bounded memory.
package intake
