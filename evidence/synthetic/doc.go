// Package synthetic makes free-text bounces, virus notices, challenges and vacation replies as
// many products and languages write them, and mail that only resembles them.
// Public samples of these are scarce. What it makes is synthetic, says so in a
// field of its own, and is scored apart from real mail.
//
// The texts are in our own words, after what the products are known to send;
// they are not written after the rules. Each comes in several headers and
// encodings, since most of what is received carries no mark of a machine.
package synthetic
