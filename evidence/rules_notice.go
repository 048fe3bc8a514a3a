package evidence

// noticeRules are the notices of virus scanners and of spam and content
// filters to the alleged sender, and what turns a bounce into such a notice.
var noticeRules = []rule{
	// What a bounce says when the host knew that the message was bad.
	{"says-virus", notice, refine, "", all(text(
		"virus detected", "virus found", "contained a virus", "contains a virus", "containing a virus", "virus infected", "infected with", "is infected",
		"was infected", "infected message", "infected file", "infected attachment", "virus alert", "a virus was", "virus in ", "malware", "trojan", "worm ",
		"virus rejected", "virus-infected", "unrepairable virus", "may contain a virus", "virenfund", "virus entdeckt", "virus trouvé", "вирус", "ウイルス", "病毒",
	))},
	{"says-spam", notice, refine, "", all(text(
		"as spam", "is spam", "be spam", "spam message", "spam detected", "spam content", "spam score", "spam filter", "rejected spam", "spam rejected", "detected spam", "spam mail", "(spam)", "spam-like",
		"like spam", "considered spam", "unsolicited", "bulk email filter", "bulk mail", "junk mail", "high spam", "of spam", "for spam", "due to spam", "spam or virus", "blocked by spam", "spamassassin", "identified as junk", "spam-",
		"spam policy", "content rejected", "content filter", "message content", "blocked by our", "high probability of spam", "垃圾邮件", "スパム", "спам",
	))},
	{"says-blocked", notice, refine, "", all(text(
		"blocked using", "blacklist", "black list", "blocklist", "block list", "dnsbl", "spamhaus", "spamcop", "barracudacentral", "rbl ", "is listed at", "is listed in", "listed by ", "is listed on", "poor reputation", "bad reputation", "low reputation", "senderbase", "senderscore",
	))},
	{"says-forged", notice, refine, "", all(text(
		"spf fail", "spf check", "failed spf", "spf record", "sender policy framework", "spf validation", "spf -all", "does not pass dmarc", "dmarc policy", "dmarc verification", "dmarc check", "dkim fail", "dmarc fail", "spf:", "spf ",
		"multiple authentication checks failed", "unauthenticated email", "sender id (pra)", "spoofed", "spoofing",
	))},
	{"says-policy", notice, refine, "", all(text("policy reasons", "policy violation", "violates our policy", "security policy", "for policy", "banned", "prohibited", "forbidden attachment", "attachment blocked", "phishing", "quarantined", "has been quarantined"))},

	// Stand-alone notices, by product.
	{"amavis", notice, decisive, "amavis", all(text("content checker found", "our content checker", "considered unsolicited bulk email (ube)", "considered unsolicited bulk email", "first upstream smtp client ip address", "amavisd-new", "our internal reference code for your message is"), is(machineSender))},
	{"amavis-subject", notice, fingerprint, "amavis", all(subject("^virus (", "^banned contents", "^banned (", "^considered unsolicited bulk email", "^bad-header", "^blocked (", "^undeliverable mail, mta-blocked", "in message from you"), is(machineSender))},
	{"barracuda-blocked", notice, fingerprint, "Barracuda", all(subject("message you sent blocked by our bulk email filter", "message you sent was blocked by our bulk email filter", "**message you sent blocked"))},
	{"barracuda-words", notice, fingerprint, "Barracuda", all(text("your message to: ", "your message to:"), text("was blocked by our spam firewall", "was considered unsolicited bulk e-mail"))},
	{"mailscanner", notice, fingerprint, "MailScanner", all(header("x-mailscanner: generated"))},
	{"mailscanner-words", notice, fingerprint, "MailScanner", all(text("our virus detector has just been triggered by a message you sent", "our content checker has just been triggered", "one or more of the attachments", "a message you sent: -"), text("mailscanner", "virus detector", "e-mail content detector"))},
	{"scanmail", notice, fingerprint, "ScanMail", all(subject("scanmail message", "^[mail virus", "virus found in sent message", "virus found in a message you sent", "interscan nt alert", "interscan msg"))},
	{"norton", notice, fingerprint, "Norton AntiVirus", all(subject("norton antivirus detected", "symantec avf detected", "symantec mail security detected", "norton anti virus detected", "antivirus found"))},
	{"norton-words", notice, fingerprint, "Norton AntiVirus", all(text("norton antivirus", "symantec antivirus", "symantec mail security"), text("you sent", "sent by you", "message with subject", "infected attachment", "sent to "), is(unaskedNotice))},
	{"sophos-notice", notice, fingerprint, "Sophos", all(text("sophos", "puremessage", "mailmonitor"), text("message you sent", "you sent", "infected"), is(machineSender), is(unaskedNotice))},
	{"groupshield", notice, fingerprint, "GroupShield", all(subject("groupshield", "mcafee security", "virusscan", "webshield"), text("virus", "infected", "banned", "replaced", "deleted"))},
	{"webshield", notice, fingerprint, "WebShield", all(text("mcafee webshield", "mcafee groupshield", "mcafee security for", "network associates webshield", "webshield e500", "gauntlet"), text("virus", "infected"), is(unaskedNotice))},
	{"mailsweeper", notice, fingerprint, "MAILsweeper", all(text("mailsweeper", "mimesweeper"), text("quarantin", "virus", "blocked", "not been delivered"))},
	{"mailmarshal-notice", notice, fingerprint, "MailMarshal", all(text("mailmarshal (an automated content monitoring gateway)", "mailmarshal has stopped", "mailmarshal rule:", "mailmarshal has"))},
	{"mms-notification", notice, fingerprint, "Brightmail", all(subject("^mms notification", "^mailserver notification", "^mail server notification", "mdaemon notification -- attachment removed"))},
	{"rav", notice, fingerprint, "RAV AntiVirus", all(subject("rav antivirus scan results", "rav anti-virus"))},
	{"gwava", notice, fingerprint, "GWAVA", all(text("gwava"), text("virus", "blocked", "banned", "violat"), is(unaskedNotice))},
	{"guinevere", notice, fingerprint, "Guinevere", all(text("guinevere"), text("virus", "infected"))},
	{"bitdefender", notice, fingerprint, "BitDefender", all(header("x-mailer: bitdefender"))},
	{"messagelabs-alert", notice, fingerprint, "MessageLabs", all(from("alert@notification.messagelabs", "alert@messagelabs", "virus-alert@messagelabs"))},
	{"antigen", notice, fingerprint, "Antigen", all(subject("antigen found", "antigen notification", "antigen forwarded", "forefront security"), text("virus", "worm", "found", "filter"))},
	{"antigen-words", notice, fingerprint, "Antigen", all(text("antigen for exchange found", "microsoft antigen", "antigen for smtp found", "forefront security for exchange server found"))},
	{"declude", notice, fingerprint, "Declude", all(text("declude virus", "declude junkmail"), text("caught", "virus", "you sent"))},
	{"kaspersky", notice, fingerprint, "Kaspersky", all(text("kaspersky"), text("infected", "virus"), text("you sent", "your message", "letter", "message from you"), is(unaskedNotice))},
	{"drweb", notice, fingerprint, "Dr.Web", all(text("drweb", "dr.web"), text("infected", "virus", "вирус"), is(unaskedNotice))},
	{"avp", notice, fingerprint, "", all(text("avg for", "f-secure anti-virus", "f-secure internet gatekeeper", "panda antivirus", "etrust antivirus", "inoculate", "clam antivirus", "clamav", "nod32 antivirus system", "command antivirus", "vexira", "h+bedv", "antivir mailgate", "avmailgate", "h+bedv antivir", "viruswall", "inflex", "qmail-scanner", "mailguard", "virus checker", "messagewall"),
		text("you sent", "sent by you", "your message", "your email", "your e-mail", "mail from you", "message from you", "from your address", "by your computer", "your system", "was not delivered", "has been rejected"), text("virus", "infected", "worm", "banned"), is(unaskedNotice))},
	{"qmail-scanner", notice, fingerprint, "Qmail-Scanner", all(header("x-antivirus-mime-type:", "x-qmail-scanner-"), is(machineSender), text("virus", "attention: you sent"))},

	// Stand-alone notices of whatever product: subject and words together.
	{"virus-subject", notice, claim, "", all(subject(
		"virus alert", "virus found", "virus detected", "virus warning", "virus in your", "virus in mail", "virus in message", "virus notification", "virus intercepted", "anti-virus", "antivirus", "infected", "virus infection", "virus report",
		"report to sender", "warning: e-mail viruses", "warning - virus", "warning: virus", "virus!", "you sent a virus", "virus in e-mail", "virus in email", "viruswarnung", "virenwarnung", "virus gefunden", "virenfund", "alerte virus", "virus détecté", "alerta de virus", "virus encontrado", "virus rilevato", "avviso virus", "вирус", "ウイルス", "病毒",
		"message quarantined", "message blocked", "mail blocked", "email blocked", "e-mail blocked", "blocked message", "content violation", "content filter", "banned file", "attachment removed", "attachment blocked", "rejected attachment", "considered spam", "identified as spam", "spam notification", "your message was blocked", "blocked by", "e-mail policy", "mail policy violation", "disallowed attachment"))},
	{"virus-words", notice, claim, "", all(text(
		"you sent", "you have sent", "sent by you", "message from you", "mail from you", "email from you", "e-mail from you", "your message to", "your email to", "your e-mail to", "your mail to", "an e-mail from your", "from your address", "apparently from you", "the sender of", "your computer", "your system is", "you are infected", "your machine", "the message you", "the mail you", "a message sent from your", "von ihnen", "ihre e-mail", "ihre nachricht", "que vous avez envoy", "votre message", "que usted envi", "su mensaje", "il messaggio inviato", "inviato da lei", "вы отправили", "ваше сообщение", "вашем письме", "送信したメール", "您发送"),
		text("virus", "infected", "worm", "trojan", "malicious", "banned", "quarantin", "spam", "blocked", "prohibited", "viren", "infect", "вирус", "ウイルス", "病毒", "unsolicited", "policy", "content"))},
	{"virus-machine", notice, claim, "", all(is(machineSender))},
	{"virus-name", notice, claim, "", all(text("w32/", "w32.", "win32/", "win32.", "worm_", "i-worm.", "@mm", "html/", "vbs/", "eicar", "exploit-", "pe_", "worm.", "trojan.", "heuristics.phishing", "js/", "sobig", "klez", "mydoom", "bagle", "netsky"))},
	{"virus-from", notice, claim, "", all(from("virus", "antivir", "content-filter", "contentfilter", "mailsweeper", "mailscanner", "quarantine", "spamfilter", "spam-filter", "amavis", "scanner@", "mailmarshal", "viruscheck", "mailguard", "viruswall", "interscan", "scanmail"))},
}
