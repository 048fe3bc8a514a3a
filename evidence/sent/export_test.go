package sent

// OpenSmall opens a log that remembers so many identities at most, and reads so many
// bytes of files of before.
func OpenSmall(name string, most int, budget int64) (*Log, error) { return open(name, most, budget) }
