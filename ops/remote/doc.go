// Package remote owns what goes on between a reporter's host and a list over the
// network: the reporter's keys, the queue on its disk ([Outbox]), the requests
// that carry reports ([Sender]), and their reception ([Server]).
//
// A request is POST /v1/reports over HTTPS. Its body is reports as lines of JSON,
// as [intake.Records] reads them. It is signed by HTTP Message Signatures (RFC
// 9421) in this form, and in no other:
//
//	Content-Type: application/jsonl
//	Content-Digest: sha-256=:BASE64:                                 (RFC 9530)
//	Signature-Input: reports=("@method" "@authority" "@path" "content-type" "content-digest");created=1780000000;nonce="…";keyid="…";alg="ed25519";tag="backscatter-reports"
//	Signature: reports=:BASE64:
//
// keyid is the first half of the SHA-256 of the public key, as 32 hexadecimal
// digits. More components and parameters may be signed; the five and created,
// nonce and keyid must be. Since the name of the list's host is signed, who runs
// one list cannot pass a report on to another in the reporter's name.
//
// The answer to a request that was taken (200) is a line of JSON for each report,
// in their order: an [Answer]. All of them are in the store then. Any other
// status is that of a request of which nothing may have been taken, and all of it
// can be sent again: a report that is known already counts once.
//
//	400  the body is not what was signed, or unreadable
//	401  the key is not known, the signature is wrong, or its time is off
//	403  the reporter is suspended
//	409  the nonce was used before
//	413  the body is too large, or has too many reports
//	415  the body has another type
//	421  the request is for another host
//	429  too many requests; Retry-After tells when there may be another
//	503  the list cannot store now; Retry-After tells when to try again
//
// Nothing is read of a body before the signature over its digest was verified.
package remote
