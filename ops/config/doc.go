// Package config owns the configuration: the names of its keys, their
// defaults, how a file and the environment are read, what is refused, and how
// the plain structs become the option values of the other packages.
//
// It knows no process: it opens no socket, no store and no log, and starts no
// goroutine. [Load] reads a file once; a reload is another Load, so a value of
// [Config] never changes after it was made.
//
// # What is read
//
// One YAML document of at most 1 MiB, with the keys that [Reference] lists.
// Over it lies the environment: the scalar and plain-list keys outside lists of
// sections each have a variable, the path in capitals with underscores behind
// BACKSCATTER_, so that policy.window is BACKSCATTER_POLICY_WINDOW. The items
// of a list are separated by commas (BACKSCATTER_DNS_LISTEN). An empty variable
// counts as not set. Under it lie the defaults.
//
// # What is refused
//
// Unknown and repeated keys, a value of the wrong type, a duration without a
// unit, a fraction for a count, an alias, a second document, and everything
// that the other packages could not work with. All problems are told at once,
// in an [Errors], each with the file, the line and the path of the key.
//
// Invariants: a Config that Load returned without an error is valid, and the
// builders (ZoneSet, ListingSettings and their like) succeed on it; what
// [Config.Print] writes loads back to the same Config.
package config
