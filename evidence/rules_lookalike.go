package evidence

import "backscatter/listing"

// lookalikeRules are mail that resembles backscatter and is none.
var lookalikeRules = []rule{
	// Reports that somebody asked for, or that answer no message.
	{"arf-report", listing.ClassOther, veto, "", all(is(feedback))},
	{"arf-aol", listing.ClassOther, veto, "", all(from("scomp@aol."), subject("email feedback report",
		"client tos notification"))},
	{"arf-jmrp", listing.ClassOther, veto, "", all(from("staff@hotmail.", "@jmrp.", "junk@office365."),
		subject("complaint about message"))},
	{"arf-words", listing.ClassOther, veto, "", all(text("this is an email abuse report", "this is a feedback report",
		"abuse report for an email message"))},
	{"arf-subject", listing.ClassOther, veto, "", all(subject("^abuse report", "^spam complaint", "^fw: complaint",
		"^email feedback report for ip"))},
	{"tls-report", listing.ClassOther, veto, "", all(is(tlsReport))},
	{"tls-report-header", listing.ClassOther, veto, "", all(header("tls-report-domain:"))},
	{"dmarc-report", listing.ClassOther, veto, "", all(subject("^report domain:", "^dmarc aggregate report",
		"^dmarc failure report", "^dmarc forensic report"))},
	{
		"dmarc-forensic", listing.ClassOther, veto, "",
		all(text("a message claiming to be from you has failed the published dmarc policy",
			"this is an authentication failure report")),
	},
	{"read-receipt", listing.ClassOther, veto, "", all(is(disposition),
		not(header("auto-submitted: auto-replied (reject")), not(subject("automatically rejected mail",
			"rejected mail")))},
	{"read-receipt-subject", listing.ClassOther, veto, "", all(subject("^read:", "^not read:", "^gelesen:", "^lu :",
		"^leído:", "^letto:"), text("was read on", "was deleted without being read", "wurde gelesen", "a été lu"))},

	// Lists and their servers.
	{"list-moderation", listing.ClassOther, veto, "", all(header("x-list-administrivia:"))},
	{"list-moderation-words", listing.ClassOther, veto, "", all(text("is being held until the list moderator",
		"awaits moderator approval", "uncaught bounce notification", "the attached message was received as a bounce",
		"the message was held for moderation"))},
	{"list-post", listing.ClassBounce, veto, "", all(is(listMail), not(is(daemonFrom)), not(is(reportStatus)))},
	{"list-post-notice", listing.ClassNotice, veto, "", all(is(listMail), not(is(daemonFrom)))},
	{"list-post-reply", listing.ClassAutoreply, veto, "", all(is(listMail))},
	{"list-post-challenge", listing.ClassChallenge, veto, "", all(is(listMail))},
	{"list-unsubscribe", listing.ClassOther, veto, "", all(subject("^unsubscribe$", "^unsubscribe "),
		not(is(daemonFrom)))},
	{"list-command", listing.ClassOther, veto, "", all(subject("^majordomo results", "^confirm subscription",
		"^your subscription to", "^output of your job", "subscription probe for"))},

	// People who forward or discuss a bounce.
	{"person-answers", listing.ClassBounce, veto, "", all(is(reSubject), not(is(nullSender)), not(is(daemonFrom)),
		not(is(daemonName)))},
	{"person-answers-notice", listing.ClassNotice, veto, "", all(is(reSubject), not(is(nullSender)),
		not(is(daemonFrom)))},
	{"person-writes", listing.ClassBounce, veto, "", all(is(userAgent), not(is(nullSender)), not(is(daemonFrom)))},

	// Phishing dressed as a bounce: a link to click, and nothing that a mail
	// system would know.
	{"phish-link", listing.ClassBounce, veto, "", all(is(htmlLinks), not(is(dsnText)), not(is(originalPart)),
		not(is(originalQuoted)))},
	{"phish-words", listing.ClassBounce, veto, "", all(is(anyLinks), not(is(originalPart)), not(is(originalQuoted)),
		not(is(dsnText)), lures)},
	{"phish-words-notice", listing.ClassNotice, veto, "", all(is(anyLinks), not(is(originalPart)), not(is(dsnText)),
		lures)},
	{"quarantine-digest", listing.ClassNotice, veto, "", all(subject(
		"quarantine summary", "quarantine digest", "quarantine notification", "quarantine report", "spam digest",
		"user digest",
		"messages quarantined", "quarantined messages", "messages in quarantine", "held messages",
		"messages on hold"))},
	{"phish-notice", listing.ClassNotice, veto, "", all(is(htmlLinks), not(is(originalPart)), not(is(dsnText)))},
	{"newsletter", listing.ClassNotice, veto, "", all(text("unsubscribe", "to be removed", "remove me"),
		not(is(originalPart)))},

	// Trackers and shops.
	{"tracker", listing.ClassOther, veto, "", all(header("x-bugzilla-", "x-jira-", "x-github-", "x-gitlab-",
		"x-redmine-", "x-launchpad-", "x-debbugs-", "x-trac-"))},
	{"calendar-reply", listing.ClassAutoreply, veto, "", all(subject("^accepted:", "^declined:", "^tentative:",
		"^invitation:"))},
}

// lures are what phishing wants to be clicked for.
var lures = text(
	"pending messages", "release message", "release your", "click here", "click below", "retrieve your",
	"review messages",
	"verify your account", "verify your email", "upgrade your", "storage is full", "quota limit",
	"your password", "view messages",
	"undelivered messages", "incoming messages", "account will be", "sign in", "log in to", "mails on hold",
	"unsubscribe",
)
