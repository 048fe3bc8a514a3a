package config

import (
	"net/netip"
	"time"

	"backscatter/listing"
	"backscatter/zonefile"
)

// Each field carries its key, and its documentation for people in the tag
// `doc`, from which the reference and the example file are made. `restart`
// marks what a running server cannot take over by a reload, `default` says
// where a default comes from that is no fixed value, and `need` marks the keys
// that an item of a list cannot do without.

// Config is the whole configuration, decoded and checked.
type Config struct {
	// File is where the configuration was read from; empty when there was none.
	File string `key:"-"`

	State           string        `key:"state" restart:"yes" default:"$STATE_DIRECTORY, else backscatter in the XDG state folder" doc:"Folder of the store, the control socket and the keys."`
	DNS             DNS           `key:"dns" doc:"The DNS server."`
	HTTP            HTTP          `key:"http" doc:"The web server: metrics, health, and the public look-up page."`
	Zones           []Zone        `key:"zones" doc:"The zones that are answered for. A zone below another one is a zone of its own."`
	Intake          Intake        `key:"intake" doc:"How reports come in."`
	Reporters       []Reporter    `key:"reporters" doc:"Who reports: operators of sensors, with the relays they trust."`
	Traps           []Trap        `key:"traps" doc:"Addresses that never send mail, so that no answer can be meant for them. Each item has a domain or an address."`
	Guarded         []Guarded     `key:"guarded" doc:"Domains that send mail, with what shows that a message is theirs: what answers mail without it is misdirected. Keys are in files that only the server may read (mode 0600), read at the start and at each reload."`
	Lookups         Lookups       `key:"lookups" doc:"What is asked of the DNS about reports."`
	Policy          Policy        `key:"policy" doc:"When evidence lists an address, and for how long."`
	Brakes          Brakes        `key:"brakes" doc:"What the server does to the list by itself before it waits for an operator, who lifts a brake with the command resume."`
	Probation       Probation     `key:"probation" doc:"What a reporter that is enrolled by command counts for at first. Those of this file have none."`
	Retention       Retention     `key:"retention" doc:"How long the store remembers what it is not listing by."`
	Journal         Journal       `key:"journal" doc:"How long the store remembers what was published at each serial."`
	Commit          Commit        `key:"commit" doc:"How reports share the store's commits. None is acknowledged before its own."`
	Headers         Headers       `key:"headers" doc:"Whether the headers of proven reports are kept, for operators who look into one (show --headers): without local parts of addresses and without the subject."`
	Exempt          []Exempt      `key:"exempt" doc:"Addresses that are never listed, beside special-purpose space, the server's own addresses and the reporters' relays, which never are."`
	Exports         []Export      `key:"exports" restart:"yes" doc:"Folders into which the list is written as files, for mirrors."`
	Mirror          Mirror        `key:"mirror" doc:"What 'serve --mirror' takes for the list. It reads dns, http, log and state besides, who may take the zone from it (zones), and what may be listed in labs (policy.listable), and nothing else of this file."`
	Log             Log           `key:"log" doc:"What the server logs, on standard error."`
	ShutdownTimeout time.Duration `key:"shutdown_timeout" doc:"The longest that a stop may take before what still runs is cut off."`

	// written are the keys of the highest level that the file has.
	written []string
	// strangers are variables of the environment that look like ours and name no key.
	strangers []string
}

// DNS configures package dnsd.
type DNS struct {
	Listen          []string      `key:"listen" restart:"yes" doc:"Addresses with ports, each for UDP and TCP. An empty host is every address of the machine."`
	Version         string        `key:"version" restart:"yes" doc:"Answer to version.bind and version.server (class CHAOS). Empty refuses the question."`
	Hostname        string        `key:"hostname" restart:"yes" doc:"Answer to hostname.bind and id.server (class CHAOS). Empty refuses the question."`
	NSID            string        `key:"nsid" doc:"Identifier of this server, told to who asks for it (RFC 5001), as dig +nsid does. Empty tells none."`
	Cookies         Cookies       `key:"cookies" doc:"DNS cookies, by which clients show that they get our answers."`
	Limits          DNSLimits     `key:"limits" doc:"What clients get at most. Clients of the action allow, and for the first two those with a good cookie, have no limit."`
	Access          []AccessRule  `key:"access" doc:"What becomes of questions from some clients. The zone's own name, its name servers and the test points are answered to all of them. By default the machine itself has no limits: nobody else can use its loopback addresses."`
	UDPSockets      int           `key:"udp_sockets" restart:"yes" doc:"Sockets that answer over UDP on each address, with a thread each. 0 is one for each core that the program may use."`
	MaxTCP          int           `key:"max_tcp" restart:"yes" doc:"TCP connections served at a time."`
	MaxTCPPerClient int           `key:"max_tcp_per_client" restart:"yes" doc:"TCP connections of one client network (IPv4 /24, IPv6 /56) served at a time; beyond it the idlest goes."`
	MaxTransfers    int           `key:"max_transfers" restart:"yes" doc:"Transfers of whole zones to secondaries at a time. Who comes then is told to try later."`
	TCPIdle         time.Duration `key:"tcp_idle" restart:"yes" doc:"How long a TCP connection may stay without a question (RFC 7766 §6.2.3)."`
	QueryLog        QueryLog      `key:"query_log" doc:"A log of some of the questions, off by default. It never holds an answer up: what cannot be written in time is left out, and counted (backscatter_dns_samples_total)."`
	Dnstap          Dnstap        `key:"dnstap" doc:"The same for programs that read dnstap, off by default."`
	Keys            []Key         `key:"keys" doc:"Secrets that are shared with other DNS servers, by which they and we sign messages (TSIG, RFC 8945)."`
}

// HTTP configures the web server.
type HTTP struct {
	Listen  string `key:"listen" restart:"yes" doc:"Address with port. Empty turns the web server off."`
	Origins bool   `key:"origins" doc:"Tell everybody which spam was answered to forged senders, and where it came from, at /origins.jsonl: less than 'backscatter origins' does, and a day later, so that nobody finds traps by it."`

	Poll []netip.Prefix `key:"poll" restart:"yes" doc:"Who may fetch what changed since a serial, at /changes?since=SERIAL, and what left the list in the past 30 days, at /removals: addresses and prefixes. Empty is nobody."`

	Proxies []netip.Prefix `key:"proxies" restart:"yes" doc:"Proxies before the web server, which append to X-Forwarded-For whom they were asked by: http.poll is about those. Without them it is about whoever connects."`
}

// Zone is one zone that is answered for.
type Zone struct {
	Name        string          `key:"name" need:"yes" doc:"Name of the zone."`
	NS          []string        `key:"ns" need:"yes" doc:"Its name servers. Resolvers need at least one."`
	Hostmaster  string          `key:"hostmaster" default:"hostmaster.NAME" doc:"Mailbox of the responsible person, written as a domain name (RFC 1035 §3.3.13)."`
	TTL         time.Duration   `key:"ttl" doc:"How long resolvers keep a positive answer. It is cut to the time that a listing has left."`
	NegativeTTL time.Duration   `key:"negative_ttl" doc:"How long resolvers keep a negative answer (RFC 2308), so how long a new listing may go unseen."`
	Classes     []listing.Class `key:"classes" doc:"The classes that the zone carries: bounce, notice, autoreply, challenge, callout, manual."`
	URL         string          `key:"url" default:"https://NAME/" doc:"Page about a listing, put before the address in text records."`
	Refresh     time.Duration   `key:"refresh" doc:"How often a secondary asks for the serial (RFC 1035 §3.3.13)."`
	Retry       time.Duration   `key:"retry" doc:"How soon a secondary asks again after a failure."`
	Expire      time.Duration   `key:"expire" doc:"How long a secondary goes on answering without having reached us."`
	Apex        Apex            `key:"apex" doc:"What the name of the zone itself answers beside SOA and NS."`

	Transfer []Transfer `key:"transfer" doc:"Who may take the whole zone over DNS (AXFR, IXFR), as secondaries do. Any of them suffices; without one nobody may."`
	Notify   []Notify   `key:"notify" doc:"Secondaries that are told at once when the zone has changed (NOTIFY, RFC 1996)."`
}

// Apex is what the name of a zone itself answers.
type Apex struct {
	Addresses []netip.Addr `key:"addresses" doc:"A and AAAA records, of the web page for instance."`
	TXT       []string     `key:"txt" doc:"TXT records, each at most 255 bytes."`
}

// Reporter is an enrolled operator of sensors.
type Reporter struct {
	Name         string         `key:"name" need:"yes" doc:"Short name: lower-case letters, digits, dots and hyphens."`
	Organisation string         `key:"organisation" default:"NAME" doc:"Whom the reporter belongs to. Reporters of one organisation count as one voice."`
	Relays       []netip.Prefix `key:"relays" doc:"Hosts whose Received lines are believed, forwarders included. They are never accused."`
	Weight       float64        `key:"weight" doc:"What its reports count for in the score."`
}

// Trap is an address, or a whole domain, that never sends mail.
type Trap struct {
	Domain  string   `key:"domain" doc:"All addresses of this domain are traps, but for its senders."`
	Address string   `key:"address" doc:"One address that is a trap."`
	Senders []string `key:"senders" doc:"Addresses of the domain that do send mail, and so are no traps."`
}

// Policy is the listing rule. Every threshold has the default of the profile.
type Policy struct {
	Profile       string        `key:"profile" doc:"Where the defaults below come from: community, or solo for a server with the reports of one operator only."`
	Window        time.Duration `key:"window" doc:"How long an observation counts."`
	Score         float64       `key:"score" doc:"Sum of class, reporter, context and age weights that is needed."`
	Originals     int           `key:"originals" doc:"Different messages that were answered."`
	TrapDomains   int           `key:"trap_domains" doc:"Different trap domains that were hit."`
	Recipients    int           `key:"recipients" doc:"Different recipients that were hit."`
	Organisations int           `key:"organisations" doc:"Different organisations that reported."`
	Direct        int           `key:"direct" doc:"Trap domains of one organisation that stand for the word of the others, when its own sensors held the sessions (level A), where two or more organisations are needed. With 0 none do."`
	Share         float64       `key:"share" doc:"The largest part of the needed score that one organisation may give, where two or more are needed."`
	Span          time.Duration `key:"span" doc:"Time from the first to the last observation."`
	Lifetime      time.Duration `key:"lifetime" doc:"How long a listing lasts after the last observation. It doubles for each earlier listing within memory."`
	LifetimeMax   time.Duration `key:"lifetime_max" doc:"The longest that doubling may reach."`
	Memory        time.Duration `key:"memory" doc:"How long an ended listing doubles the lifetime of the next."`
	Relapse       time.Duration `key:"relapse" doc:"How long after an expiry or a removal relapse_factor of the score and of the originals suffices."`
	RelapseFactor float64       `key:"relapse_factor" doc:"The part of them that suffices then. 1 asks for all."`
	AgedTo        float64       `key:"aged_to" doc:"What an observation as old as the window still weighs; from 1 it falls in a line."`
	SPFFactor     float64       `key:"spf_factor" doc:"Factor for a source that SPF would have told that the sender was forged."`

	DeliveredFactor float64 `key:"delivered_factor" doc:"Factor for a bounce that says that the message was delivered: who forged the sender can have asked for it."`

	Weights  Weights        `key:"weights" doc:"What one observation of each class adds to the score."`
	Listable []netip.Prefix `key:"listable" doc:"Special-purpose prefixes that may be listed, for labs only."`
}

// Weights is what one observation of each class adds to the score.
type Weights struct {
	Bounce    float64 `key:"bounce" doc:"Delivery status notifications."`
	Notice    float64 `key:"notice" doc:"Virus, spam and quarantine notices."`
	Autoreply float64 `key:"autoreply" doc:"Vacation messages and other automatic answers."`
	Challenge float64 `key:"challenge" doc:"Requests to confirm that one is human."`
	Callout   float64 `key:"callout" doc:"Sender verification without a message. With 0 it is counted and shown only."`
}

// Brakes bound what the server does to the list by itself.
type Brakes struct {
	Listings      int     `key:"listings" doc:"New listings by evidence within an hour. With more, and more than listings_share of the list, automatic listing is frozen: reports are taken in, and nothing new is listed. 0 turns the brake off; more than endings at once freeze it all the same."`
	ListingsShare float64 `key:"listings_share" doc:"The same as a part of the list; the larger of the two counts."`
	Endings       int     `key:"endings" doc:"Listings that come or go at once by anything but an operator's order: their time is over, as when the clock was set, exemptions end or are imported, or the configuration exempts others. With more, and more than endings_share of the list, what is published stays as it is. 0 turns the brake off."`
	EndingsShare  float64 `key:"endings_share" doc:"The same as a part of the list; the larger of the two counts."`
}

// Exempt is a prefix that is never listed.
type Exempt struct {
	Prefix netip.Prefix `key:"prefix" need:"yes" doc:"Address or prefix."`
	Reason string       `key:"reason" need:"yes" doc:"Why, for the next operator."`
}

// Export is one folder of files for mirrors.
type Export struct {
	Zone    string            `key:"zone" need:"yes" doc:"The zone that is written; one of zones."`
	Dir     string            `key:"dir" need:"yes" doc:"Folder for the files."`
	Formats []zonefile.Format `key:"formats" doc:"Files to write: ip4set, ip6trie, combined, zone, txt, jsonl, removals."`
	Gzip    bool              `key:"gzip" doc:"A compressed copy of each file beside it, made so that rsync sends of it only what changed."`
	Key     string            `key:"key" doc:"File of the secret key that signs the manifest, made by 'export keygen'; only the server may read it. Without one the manifest is not signed."`

	PassphraseFile string        `key:"passphrase_file" doc:"File of the passphrase of the key, if it has one; only the server may read it."`
	Brake          float64       `key:"brake" doc:"The part of a file's entries that may come or go from one publication to the next. With more, and more than 100, the former files stay until an operator says 'export accept'. 0 turns the brake off."`
	Every          time.Duration `key:"every" doc:"The shortest time between two publications. Nothing is written while nothing changes."`
}

// Log configures the log.
type Log struct {
	Level  string `key:"level" restart:"yes" doc:"Least level that is logged: debug, info, warn, error."`
	Format string `key:"format" restart:"yes" doc:"text or json."`
}
