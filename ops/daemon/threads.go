package daemon

// Threads returns how many threads Run keeps for the DNS server alone.
func (d *Daemon) Threads() int { return d.dns.Threads() }

// Threads returns how many threads Run keeps for the DNS server alone.
func (m *Mirror) Threads() int { return m.dns.Threads() }
