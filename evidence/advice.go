package evidence

import (
	"slices"

	"backscatter/listing"
)

// Advice returns how to stop the backscatter of a product, for whoever runs it;
// of a product that is not known, what holds for every one.
func Advice(product string) string {
	if text, ok := advice[product]; ok {
		return text
	}
	return adviceForAll
}

// Fix is the advice for one product.
type Fix struct{ Product, Text string }

// Fixes returns the advice for each product that was recognised in the events,
// once, in their order. Names of products that no rule knows are left out.
func Fixes(events []listing.Event) []Fix {
	var fixes []Fix
	for _, e := range events {
		text, ok := advice[e.Traces.Product]
		if ok && !slices.ContainsFunc(fixes, func(f Fix) bool { return f.Product == e.Traces.Product }) {
			fixes = append(fixes, Fix{Product: e.Traces.Product, Text: text})
		}
	}
	return fixes
}

const (
	adviceForAll = "Refuse what you cannot deliver while its sender is still connected (at RCPT or after DATA) instead of " +
		"accepting it and answering later; send no notices about viruses or spam; " +
		adviceReplies
	adviceRecipients = "Refuse unknown recipients at RCPT: give every host that takes mail from outside, secondary MX included, " +
		"the list of those that exist, or let it ask the host behind it. "
	adviceNotices = "Turn the notices to senders off: the address on a virus or spam is forged, so they go to somebody who sent " +
		"nothing. Refuse the message after DATA, or drop it, and tell the administrator or the recipient at most. "
	adviceForwarder = "Refuse at RCPT and after DATA what the next host refuses, check mail before it is forwarded, and rewrite " +
		"the sender (SRS) so that what fails comes back to you."
	adviceProvider = "This is a provider's service: check mail before it is forwarded, refused by a rule or sent to a group, " +
		"and turn recipient verification at the edge on, so that what cannot be delivered is refused at RCPT."
	adviceChallenge = "Stop challenging senders, or ask only those whose address is proven by SPF or DKIM and DMARC, and refuse " +
		"the rest after DATA. Nearly every challenge to spam goes to somebody who sent nothing."
	adviceReplies = "let automatic replies follow RFC 3834: never to a null sender, nor to lists and bulk mail, only to mail that " +
		"names the recipient, once in a week to one sender, with Auto-Submitted: auto-replied, and not to what looks like spam."
)

// advice is by product, in the order of the families of rules.
var advice = map[string]string{
	// Mail transfer agents.
	"Postfix": adviceRecipients + "Postfix: local_recipient_maps and relay_recipient_maps, or reject_unverified_recipient where the host behind " +
		"is the only one to know; content filters before the queue (smtpd_proxy_filter or a milter). See BACKSCATTER_README.",
	"Exim": adviceRecipients + "Exim: \"require verify = recipient/callout\" in the RCPT ACL, scanning in the DATA ACL; " +
		"let bounces that verify = header_sender fails for be dropped.",
	"Sendmail":   adviceRecipients + "Sendmail: the access map or LDAP routing with bounce in FEATURE(ldap_routing), and milters for scanning.",
	"FirstClass": adviceRecipients + "FirstClass: let the Internet services check recipients against the directory before they accept mail.",
	"qmail":      adviceRecipients + "qmail accepts all of rcpthosts: use validrcptto or chkusr patches, qmail-spp, or put a proxy before it.",
	"Courier":    adviceRecipients + "Courier: do not list domains in hosteddomains with an alias for everybody; filter with courierfilter during DATA.",
	"OpenSMTPD":  adviceRecipients + "OpenSMTPD: name the recipients of relayed domains with \"rcpt-to <table>\", and filter at DATA.",
	"Exchange": adviceRecipients + "Exchange: turn recipient filtering on (Set-RecipientFilterConfig -RecipientValidationEnabled $true) on " +
		"the edge, and non-delivery reports and automatic replies to the Internet off (Set-RemoteDomain Default -NDREnabled $false -AutoReplyEnabled $false).",
	"Office 365":           adviceProvider + " Exchange Online: make the domain authoritative, so that Directory-Based Edge Blocking refuses unknown recipients.",
	"Domino":               adviceRecipients + "Domino: \"Verify that local domain recipients exist in the Domino Directory\" in the SMTP inbound controls.",
	"Notes":                adviceRecipients,
	"GroupWise":            adviceRecipients + "GroupWise: flags /rejbs and /dia on the Internet agent, and no undeliverable reports to the outside.",
	"hMailServer":          adviceRecipients + "hMailServer: no catch-all that forwards, and no rule that answers or bounces.",
	"MDaemon":              adviceRecipients + "MDaemon: refuse unknown local recipients during SMTP, and turn notices of the attachment filter to senders off.",
	"MailEnable":           adviceRecipients + "MailEnable: no catch-all, and no non-delivery reports for messages that came in by SMTP.",
	"Kerio":                adviceRecipients + "Kerio Connect: refuse at SMTP what is rated as spam, and do not send it back with a bounce.",
	"Apache James":         adviceRecipients,
	"ArGoSoft":             adviceRecipients,
	"CommuniGate":          adviceRecipients,
	"DragonFly Mail Agent": adviceRecipients,
	"Haraka":               adviceRecipients,
	"IMail":                adviceRecipients,
	"IceWarp":              adviceRecipients,
	"MMDF":                 adviceRecipients,
	"PMDF":                 adviceRecipients,
	"PowerMTA":             adviceRecipients,
	"Smail":                adviceRecipients,
	"Sun Messaging Server": adviceRecipients,
	"X.400":                adviceRecipients,
	"XMail":                adviceRecipients,
	"Zimbra":               adviceRecipients,
	"sieve":                "Use no \"reject\" after the message was accepted: \"ereject\" (RFC 5429) at the time of LMTP or SMTP, or \"discard\".",

	// Gateways and filters.
	"Barracuda":        adviceNotices + "Barracuda: Basic, Spam Checking: \"Send Bounce\" off; recipient verification by SMTP or LDAP on.",
	"IronPort":         adviceRecipients + "IronPort: LDAP accept queries in the conversation, bounce verification, and no drop with a bounce in filters.",
	"MailMarshal":      adviceNotices + "MailMarshal: no notification templates to senders in rules for spam, viruses and blocked files.",
	"InterScan":        adviceNotices + "InterScan: clear \"notify sender\" in every policy, and verify recipients by LDAP.",
	"Symantec":         adviceNotices,
	"McAfee":           adviceNotices,
	"Proofpoint":       adviceRecipients,
	"Mimecast":         adviceRecipients + "Mimecast: recipient validation by directory, and no notification to external senders in policies.",
	"FortiMail":        adviceNotices + "FortiMail: recipient address verification on, and no \"notify sender\" in action profiles.",
	"Sophos":           adviceNotices,
	"amavis":           adviceNotices + "amavisd-new: $final_virus_destiny and $final_spam_destiny D_DISCARD after the queue, D_REJECT before it, and $warnvirussender off.",
	"MailScanner":      adviceNotices + "MailScanner: \"Notify Senders = no\", and \"Silent Viruses = All-Viruses\".",
	"Norton AntiVirus": adviceNotices,
	"ScanMail":         adviceNotices,
	"GroupShield":      adviceNotices,
	"WebShield":        adviceNotices,
	"MAILsweeper":      adviceNotices,
	"Brightmail":       adviceNotices,
	"RAV AntiVirus":    adviceNotices,
	"GWAVA":            adviceNotices,
	"Guinevere":        adviceNotices,
	"BitDefender":      adviceNotices,
	"MessageLabs":      adviceNotices,
	"Antigen":          adviceNotices,
	"Declude":          adviceNotices,
	"Kaspersky":        adviceNotices,
	"Dr.Web":           adviceNotices + "Dr.Web: SenderNotify off in every section.",
	"Qmail-Scanner":    adviceNotices + "Qmail-Scanner: --notify none, or psender at most.",
	"SurfControl":      adviceNotices,
	"m-FILTER":         adviceNotices,
	"MailFoundry":      adviceRecipients,
	"MX Logic":         adviceRecipients,
	"MXGuarddog":       adviceRecipients,

	// Providers and lists.
	"Gmail":         adviceForwarder,
	"Google Groups": adviceProvider,
	"SendGrid":      adviceForwarder,
	"Amazon SES":    adviceForwarder,
	"Zoho":          adviceProvider,
	"Yahoo":         adviceProvider,
	"Yandex":        adviceProvider,
	"Mail.Ru":       adviceProvider,
	"GMX":           adviceForwarder,
	"1&1":           adviceForwarder,
	"AOL":           adviceProvider,
	"Bigfoot":       adviceProvider,
	"EarthLink":     adviceProvider,
	"Facebook":      adviceProvider,
	"Verizon":       adviceProvider,
	"au EZweb":      adviceProvider,
	"Biglobe":       adviceProvider,
	"ActiveHunter":  adviceProvider,
	"fml":           "Drop mail to the list from those who are not its members, or refuse it during SMTP, instead of answering it.",

	// Challenges.
	"TMDA":                  adviceChallenge,
	"Spam Arrest":           adviceChallenge,
	"BoxTrapper":            adviceChallenge + " cPanel: turn BoxTrapper off for the accounts.",
	"Vanquish":              adviceChallenge,
	"Spamstomp":             adviceChallenge,
	"Spamlion":              adviceChallenge,
	"Spamhippo":             adviceChallenge,
	"Spamazoid":             adviceChallenge,
	"Sendio":                adviceChallenge + " Sendio: sender address verification off for mail that fails SPF.",
	"Qurb":                  adviceChallenge,
	"Mailblocks":            adviceChallenge,
	"MailInBlack":           adviceChallenge,
	"KnowSpam":              adviceChallenge,
	"ExiSpam":               adviceChallenge,
	"EarthLink spamBlocker": adviceChallenge,
	"ChoiceMail":            adviceChallenge,
	"Boxbe":                 adviceChallenge,
	"Bluebottle":            adviceChallenge,
	"AntiSpam UOL":          adviceChallenge,
	"Active Spam Killer":    adviceChallenge,
}
