package dashboard_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/dashboard"
)

// knock sends a login by way of a connection from that address, with these headers of proxies.
func (w *world) knock(connected, name string, forwarded ...string) int {
	w.t.Helper()
	form := url.Values{"name": {name}, "password": {password}}
	r := httptest.NewRequestWithContext(w.t.Context(), http.MethodPost, "/login", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.RemoteAddr = connected
	for _, f := range forwarded {
		r.Header.Add("X-Forwarded-For", f)
	}
	answer := httptest.NewRecorder()
	w.Config.Handler.ServeHTTP(answer, r)
	return answer.Code
}

// proxies are those that the tests trust.
func proxies(c *dashboard.Config) {
	c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
}

func TestWhoAsksIsTheLastHopThatIsNoTrustedProxy(t *testing.T) {
	t.Parallel()
	w := open(t, proxies)
	for sentence, test := range map[string]struct {
		connected string
		forwarded []string
		want      string
	}{
		"who connects directly":                            {"192.0.2.1:443", nil, "192.0.2.1"},
		"who connects directly, whatever he says":          {"192.0.2.1:443", []string{"198.51.100.7"}, "192.0.2.1"},
		"who connects directly and names a proxy of ours":  {"192.0.2.1:443", []string{"198.51.100.7, 10.0.0.1"}, "192.0.2.1"},
		"whom one proxy saw":                               {"10.0.0.1:443", []string{"198.51.100.7"}, "198.51.100.7"},
		"whom one proxy saw, which wrote his port":         {"10.0.0.1:443", []string{"198.51.100.7:50000"}, "198.51.100.7"},
		"whom the first of two proxies saw":                {"10.0.0.1:443", []string{"198.51.100.7, 10.0.0.2"}, "198.51.100.7"},
		"whom the first of two saw, in headers of its own": {"10.0.0.1:443", []string{"198.51.100.7", "10.0.0.2"}, "198.51.100.7"},
		"not whom he pretends to be, to one proxy":         {"10.0.0.1:443", []string{"203.0.113.9, 198.51.100.7"}, "198.51.100.7"},
		"not whom he pretends to be, to two":               {"10.0.0.1:443", []string{"203.0.113.9, 10.0.0.9, 198.51.100.7, 10.0.0.2"}, "198.51.100.7"},
		"not whom he pretends to be, in another header":    {"10.0.0.1:443", []string{"203.0.113.9", "198.51.100.7"}, "198.51.100.7"},
		"the proxy that names nobody":                      {"10.0.0.1:443", nil, "10.0.0.1"},
		"the proxy that passes garbage on":                 {"10.0.0.1:443", []string{"203.0.113.9, <script>"}, "10.0.0.1"},
		"the proxy that passes an empty hop on":            {"10.0.0.1:443", []string{"203.0.113.9, "}, "10.0.0.1"},
		"the proxy that passes half an address on":         {"10.0.0.1:443", []string{"203.0.113.9, [2001:db8::1"}, "10.0.0.1"},
		"the proxy before which stood garbage":             {"10.0.0.1:443", []string{"unknown, 10.0.0.2"}, "10.0.0.2"},
		"whom a proxy saw, behind garbage":                 {"10.0.0.1:443", []string{"\x00\xff, 1.2.3, 198.51.100.7"}, "198.51.100.7"},
		"the farthest of proxies alone, a check of theirs": {"10.0.0.1:443", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		"whom a proxy saw by IPv6":                         {"[fd00::1]:443", []string{"2001:db8::7"}, "2001:db8::7"},
		"whom a proxy saw by IPv6, in brackets":            {"[fd00::1]:443", []string{"[2001:db8::7]"}, "2001:db8::7"},
		"whom a proxy saw by IPv6, with his port":          {"[fd00::1]:443", []string{"[2001:db8::7]:50000"}, "2001:db8::7"},
		"whom a proxy saw by IPv6, without a zone":         {"[fd00::1]:443", []string{"fe80::7%eth0"}, "fe80::7"},
		"IPv4 that is written as IPv6, proxy and visitor":  {"[::ffff:10.0.0.1]:443", []string{"::ffff:198.51.100.7"}, "198.51.100.7"},
		"a proxy by IPv6 that is none of ours":             {"[2001:db8::1]:443", []string{"198.51.100.7"}, "2001:db8::1"},
		"what is no address of a host, such as a socket's": {"@", []string{"198.51.100.7"}, "@"},
	} {
		if code := w.knock(test.connected, "viewer", test.forwarded...); code != http.StatusSeeOther {
			t.Fatalf("%s: %d", sentence, code)
		}
		who, err := w.db.FindOperator(t.Context(), "viewer")
		check(t, err)
		sessions, err := w.db.OperatorSessions(t.Context(), who.ID)
		check(t, err)
		if diff := cmp.Diff(test.want, sessions[0].From.Remote); diff != "" {
			t.Errorf("%s: the session is of (-want +got)\n%s", sentence, diff)
		}
		check(t, func() error { _, err := w.db.ChainAudit(t.Context(), 1000); return err }())
		links, err := w.db.AuditLinks(t.Context(), 0, 1000)
		check(t, err)
		if diff := cmp.Diff(test.want, links[len(links)-1].Entry.Detail["remote"]); diff != "" {
			t.Errorf("%s: the audit log names (-want +got)\n%s", sentence, diff)
		}
	}
}

func TestBehindATrustedProxyEverybodyHasALimitOfHisOwn(t *testing.T) {
	t.Parallel()
	w := open(t, proxies, func(c *dashboard.Config) { c.LoginsPerMinute = 3 })
	for sentence, test := range map[string]struct {
		connected, forwarded string // both with a number
		want                 int
	}{
		"one behind a proxy is stopped":                   {"10.0.0.1:%d", "203.0.113.%d, 198.51.100.7", http.StatusTooManyRequests},
		"others behind it are not":                        {"10.0.0.1:%d", "198.51.100.2%d", http.StatusUnauthorized},
		"a network of IPv6 is one":                        {"10.0.0.2:%d", "2001:db8:0:1:%d::1", http.StatusTooManyRequests},
		"networks of IPv6 are several":                    {"10.0.0.2:%d", "2001:db8:0:1%d::1", http.StatusUnauthorized},
		"who connects himself chooses no address by this": {"192.0.2.1:%d", "198.51.100.3%d", http.StatusTooManyRequests},
	} {
		last := 0
		for i := range 4 {
			last = w.knock(fmt.Sprintf(test.connected, 1000+i), "nobody", fmt.Sprintf(test.forwarded, i))
		}
		if last != test.want {
			t.Errorf("%s: the fourth answered %d, not %d", sentence, last, test.want)
		}
	}
}
