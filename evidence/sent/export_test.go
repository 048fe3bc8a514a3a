package sent

// OpenSmall opens a log that remembers so many identities at most.
func OpenSmall(name string, most int) (*Log, error) { return open(name, most) }
