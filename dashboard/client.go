package dashboard

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// remote is the address of whoever asks: of whoever connected, or, where that is a trusted proxy, the one that the proxy saw. Whatever names an address –
// limits, sessions, the audit log – has it from here.
func (v *visit) remote() string {
	host, _, err := net.SplitHostPort(v.r.RemoteAddr)
	if err != nil {
		return v.r.RemoteAddr
	}
	peer, err := netip.ParseAddr(host)
	if err != nil || !v.d.trusts(peer) {
		return host // what a stranger says of it anybody could say
	}
	return v.d.client(plain(peer), v.r.Header).String()
}

// client walks the hops that proxies wrote from the last one back, as each saw the one before it, to the first that is not one of ours. Further back stands what
// that one claims. A hop that is no address ends the walk too: our proxies write none, and the one that passed it on answers for it.
func (d *Dashboard) client(peer netip.Addr, h http.Header) netip.Addr {
	hops := strings.Join(h.Values("X-Forwarded-For"), ",")
	for hops != "" {
		at := strings.LastIndexByte(hops, ',')
		hop, ok := hopOf(hops[at+1:])
		if !ok {
			return peer
		}
		if peer = hop; !d.trusts(hop) {
			return hop
		}
		hops = hops[:max(at, 0)]
	}
	return peer
}

func (d *Dashboard) trusts(a netip.Addr) bool {
	a = plain(a)
	for _, p := range d.cfg.TrustedProxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// hopOf reads one, which some proxies write with a port, and IPv6 in brackets.
func hopOf(text string) (netip.Addr, bool) {
	text = strings.TrimSpace(text)
	a, err := netip.ParseAddr(text)
	if err != nil {
		var withPort netip.AddrPort
		if withPort, err = netip.ParseAddrPort(text); err == nil {
			a = withPort.Addr()
		}
	}
	if inner, ok := strings.CutPrefix(text, "["); ok && err != nil {
		if inner, ok = strings.CutSuffix(inner, "]"); ok {
			a, err = netip.ParseAddr(inner)
		}
	}
	return plain(a), err == nil
}

// plain is the one way to write an address that has several: IPv4 as such, and without a zone, which is this host's name for a link.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }
