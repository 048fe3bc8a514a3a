package lookup

// Kept returns how many answers are kept.
func (l *Lookup) Kept() int {
	l.cache.mu.Lock()
	defer l.cache.mu.Unlock()
	return len(l.cache.kept)
}
