package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"backscatter/dnsd"
)

// Cookies configures DNS cookies.
type Cookies struct {
	Enabled bool   `key:"enabled" doc:"Make and check DNS cookies (RFC 7873, RFC 9018). A client with a good one has shown that its address is not forged, and no rate limits it."`
	Require bool   `key:"require" doc:"Answer BADCOOKIE over UDP to clients that speak of cookies and have none of ours, so that they ask again with one. Those that do not speak of cookies are answered all the same."`
	File    string `key:"file" default:"cookie.secrets in the state folder, made at the first start" doc:"File of the secrets, which only the server may read (mode 0600). Servers that share an address share it. It is read at the start and at each reload; 'cookie roll' changes the secret in three steps."`
}

// DNSLimits bounds what clients get.
type DNSLimits struct {
	Same   int           `key:"same" doc:"Answers in a second, over UDP, about one name to one client, whatever the type. A resolver keeps an answer for minutes; who asks for more has no cache, or is the victim of somebody who forges its address. A client is an IPv4 /24 or an IPv6 /56. 0 is no limit."`
	All    int           `key:"all" doc:"Answers in a second, over UDP, to one client in all. 0 is no limit."`
	Slip   int           `key:"slip" doc:"Of the questions beyond these two limits, every so many-th is answered with the truncation bit, by which a client that is no forgery comes again over TCP; the others are not answered. 0 answers none."`
	Quota  int           `key:"quota" doc:"Questions of one client in a period; those with a good cookie and over TCP are counted apart from the others, which a stranger could ask in its name. Beyond it the client is told of every address that it is not listed, for a minute (NXDOMAIN, with the extended error 18 and the zone's url). 0 is no limit."`
	Period time.Duration `key:"period" doc:"The period of the quota."`
}

// AccessRule says what becomes of questions from a prefix.
type AccessRule struct {
	Prefix netip.Prefix `key:"prefix" need:"yes" doc:"Address or prefix of the client. The rule with the longest prefix counts."`
	Action string       `key:"action" need:"yes" doc:"allow: answer without limits. refuse: answer REFUSED, which some mail servers take for a reason to defer mail. ignore: answer nothing. empty: answer that nothing is listed. code: answer every address with a code."`
	Code   string       `key:"code" doc:"The code of the action 'code', such as 127.255.255.254. Most mail servers take any code for a listing, and refuse mail."`
}

const maxAccess = 100_000

func defaultDNSLimits() DNSLimits {
	return DNSLimits{Same: 200, All: 20_000, Slip: 3, Period: day}
}

// defaultAccess lets the machine itself ask without limits. They are there for
// victims of forged addresses, and a loopback address comes from no network
// (RFC 1122 §3.2.1.3, RFC 4291 §2.5.3).
func defaultAccess() []AccessRule {
	allow := dnsd.Allow.String()
	return []AccessRule{
		{Prefix: netip.MustParsePrefix("127.0.0.0/8"), Action: allow},
		{Prefix: netip.MustParsePrefix("::1/128"), Action: allow},
	}
}

func (l DNSLimits) validate(p *problems, key string) {
	validateCount(p, key+".same", l.Same, 0, dnsd.MaxRate)
	validateCount(p, key+".all", l.All, 0, dnsd.MaxRate)
	validateCount(p, key+".slip", l.Slip, 0, 10_000)
	validateCount(p, key+".quota", l.Quota, 0, dnsd.MaxQuota)
	validateDuration(p, key+".period", l.Period, time.Second, 31*day)
}

func (d *DNS) validateAccess(p *problems, key string) {
	if len(d.Access) > maxAccess {
		p.add(key, "has %d rules; at most %d are kept", len(d.Access), maxAccess)
		return
	}
	known := map[netip.Prefix]int{}
	for i, r := range d.Access {
		at := fmt.Sprintf("%s[%d]", key, i)
		r.validate(p, at)
		if !r.Prefix.IsValid() {
			continue
		}
		if first, twice := known[r.Prefix]; twice {
			p.add(at+".prefix", "%s is the prefix of %s[%d]%s too; keep one", r.Prefix, key, first, p.origin(fmt.Sprintf("%s[%d].prefix", key, first)).inLine())
			continue
		}
		known[r.Prefix] = i
	}
}

func (r AccessRule) validate(p *problems, key string) {
	if !p.sound(key) {
		return
	}
	if !slices.Contains(dnsd.Actions(), r.Action) {
		p.add(key+".action", "%s is no action; write one of %s", quote(r.Action), strings.Join(dnsd.Actions(), ", "))
		return
	}
	if r.Action != dnsd.Replace.String() {
		if r.Code != "" {
			p.add(key+".code", "is not answered by the action %s; remove it, or write the action code", r.Action)
		}
		return
	}
	// What is outside 127.0.0.0/8 is an address that somebody has (RFC 5782 §2.1).
	code, err := netip.ParseAddr(r.Code)
	if err != nil || !code.Is4() || !code.IsLoopback() {
		p.add(key+".code", "%s is no code; write an address in 127.0.0.0/8, such as 127.255.255.254", quote(r.Code))
	}
}

// DNSRules returns what the DNS server does depending on who asks. The secrets
// are those of cookies, the active one first; without any it speaks of none.
func (c *Config) DNSRules(secrets []dnsd.CookieSecret) *dnsd.Rules {
	l := c.DNS.Limits
	rules := &dnsd.Rules{
		RequireCookies: c.DNS.Cookies.Require,
		NSID:           c.DNS.NSID,
		Rates:          dnsd.Rates{Same: l.Same, All: l.All, Slip: l.Slip, Quota: l.Quota, Period: l.Period},
	}
	if len(secrets) > 0 {
		rules.Jar = dnsd.NewJar(secrets[0], secrets[1:]...)
	}
	var access []dnsd.AccessRule
	for _, r := range c.DNS.Access {
		action, err := dnsd.ParseAction(r.Action)
		if err != nil {
			continue // cannot be: it was validated
		}
		code, _ := netip.ParseAddr(r.Code) // validated where it is needed
		access = append(access, dnsd.AccessRule{Prefix: r.Prefix, Action: action, Code: code})
	}
	rules.Access = dnsd.NewAccess(access...)
	return rules
}
