// Package lookup answers from the DNS what package evidence asks about a
// report: whether SPF would have told the accused host that the sender was
// forged, and whether the original carries a signature of the domain that is
// said to have sent it.
//
// Every question comes from hostile mail, so all is bounded: the time for one
// report, the queries at once, the answers that are kept, and by package spf
// the queries for one evaluation (RFC 7208 §4.6.4). What cannot be answered in
// these bounds is not known, and what is not known never counts.
package lookup
