// Package dnsd owns the DNS on the wire: the sockets, what comes in over them,
// and the answers that go out.
//
// [Answer] is the whole of the protocol as a pure function: a snapshot, a set
// of zones and a question go in, a message comes out. [Server] is the sockets
// round it. What resolvers ask most goes a shorter way over UDP: it is read by
// the same parser and answered in the buffer that it came in, with the same bytes
// (the worker's quick); tests and a fuzz target compare the two. What a listing
// looks like as DNS data is package zonefile's, what is listed is package
// listing's; this package knows neither evidence, nor the database, nor
// configuration.
//
// Secondaries get whole zones, or what changed in them, made from one snapshot
// while it is sent: [Secondaries] says who may, and a [Notifier] tells them when
// there is something new. Signatures are checked on every request (RFC 8945).
//
// Who asks matters by [Rules] alone. Each question is examined first: whether its
// DNS cookie is ours (RFC 7873, RFC 9018), and which access rule its client has. Then
// it is weighed, which is the one step that remembers anything: how much the client
// has asked lately, in tables of fixed size. Both paths answer from what was found.
//
// # Invariants
//
//   - A question is answered from one snapshot and one set of zones, loaded once,
//     over UDP once for a batch of questions.
//   - Answering takes no lock, does no I/O, and reads no clock but the coarse
//     one that [Server.Serve] moves each second. Beside it the clock is read to
//     take the time of some answers, and for samples; and [Server.Top] counts under a
//     lock, while somebody looks.
//   - Nothing is answered that is itself an answer, and no answer is longer
//     than what the asker said that it takes, but for a signature by a key of ours
//     that he has: without it he could not believe even a truncated one.
//   - Goroutines, connections, queues and buffers are bounded, whatever comes in.
//   - A panic costs one question, never the server.
package dnsd
