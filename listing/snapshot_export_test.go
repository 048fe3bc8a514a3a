package listing

// Contents returns the length of the table of contents, live and dead.
func (s *Snapshot) Contents() int { return len(s.table) }
