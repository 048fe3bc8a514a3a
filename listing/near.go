package listing

import "net/netip"

// Near returns where a lookup of an IPv4 address is going to read, for who wants to
// have that in the processor's cache by then: in a large list the way to memory takes
// longer than all else that a question costs. It is nil where nothing is known. What
// is there means nothing.
func (s *Snapshot) Near(addr netip.Addr) *byte {
	if !addr.Is4() {
		return nil
	}
	return s.hosts.near(hostOf(addr))
}

func (h *hosts) near(host uint32) *byte {
	p := h.pages[host>>24]
	if p == nil {
		return nil
	}
	n := &p[host>>20&15]
	l := n.leaf
	if n.fan != nil {
		l = n.fan[host>>16&15]
	}
	if l == nil {
		return nil
	}
	if at := uint64(l.guess(host)) * uint64(l.stride()); at < uint64(len(l.data)) {
		return &l.data[at]
	}
	return nil
}

// guess returns where the host would be if the hosts of its /16 stood evenly.
func (l *leaf) guess(host uint32) uint32 {
	start, end := l.bounds(host >> 16 & 15)
	return start + uint32(uint64(uint16(host))*uint64(end-start)>>16)
}
