package evidence

import "slices"

// challengeRules are the systems that ask the sender of a message to confirm it.
var challengeRules = []rule{
	{"tmda", challenge, decisive, "TMDA", all(header("x-tmda-confirm", "x-tmda-challenge"))},
	{"tmda-id", challenge, decisive, "TMDA", all(cond{zone: inHead, phrases: []string{
		"-tmda-confirm>",
		".tmda-confirm>",
	}}, not(is(answers)))},
	{"tmda-header", challenge, fingerprint, "TMDA", all(header("x-tmda-"), not(is(listMail)), not(is(reSubject)),
		text("confirm", "release"))},
	{"tmda-from", challenge, fingerprint, "TMDA", all(from("-confirm-", "+confirm-", "-tmda"), text("confirm",
		"bulk mail", "release"))},
	{"spamarrest", challenge, decisive, "Spam Arrest", all(header("x-spamarrest-"))},
	{"spamarrest-words", challenge, fingerprint, "Spam Arrest", all(text("spamarrest.com", "spam arrest"),
		text("verify", "confirm", "approved"))},
	{"bluebottle", challenge, decisive, "Bluebottle", all(header("x-bluebottle-request:"))},
	{"boxtrapper", challenge, decisive, "BoxTrapper", all(header("x-boxtrapper"))},
	{"boxtrapper-words", challenge, fingerprint, "BoxTrapper", all(text("boxtrapper"), text("reply to this",
		"confirm", "verification"))},
	{"ask", challenge, decisive, "Active Spam Killer", all(header("x-askversion:", "x-ask-"))},
	{"spamlion", challenge, decisive, "Spamlion", all(header("x-spamlion", "spamlion:"))},
	{"exispam", challenge, decisive, "ExiSpam", all(header("x-exispam"))},
	{"choicemail", challenge, decisive, "ChoiceMail", all(header("x-choicemail-registration-request"))},
	{"spamazoid", challenge, decisive, "Spamazoid", all(header("x-spamazoid"))},
	{"boxbe", challenge, decisive, "Boxbe", all(from("@boxbe.com"), text("guest list", "approved list",
		"waiting list", "was not delivered", "verify"))},
	{"vanquish", challenge, decisive, "Vanquish", all(from("@spamguard.vanquish.com", "confirm-", "@vanquish"),
		text("vanquish"))},
	{"uol", challenge, fingerprint, "AntiSpam UOL", all(from("antispam uol", "antispamuol"))},
	{"earthlink-blocker", challenge, fingerprint, "EarthLink spamBlocker", all(from("spamblocker-challenge@"))},
	{"spamhippo", challenge, fingerprint, "Spamhippo", all(from("spamhippo@"))},
	{"spamstomp", challenge, fingerprint, "Spamstomp", all(from("@spamstomp.com", "@ipermitmail.com"))},
	{"qurb", challenge, fingerprint, "Qurb", all(subject("[qurb #"))},
	{"mailinblack", challenge, fingerprint, "MailInBlack", all(text("mailinblack", "mail in black"), text("authentif",
		"valider", "validate", "cliquer"))},
	{"mailblocks", challenge, fingerprint, "Mailblocks", all(text("mailblocks"), text("reply", "verify", "confirm"))},
	{"knowspam", challenge, fingerprint, "KnowSpam", all(text("knowspam"), text("verify", "confirm"))},
	{"sendio", challenge, fingerprint, "Sendio", all(text("sendio"), text("verify", "sender address verification"))},
	{"bluetie", challenge, fingerprint, "", all(subject("sender address verification",
		"your email requires verification", "please verify your message", "verify your email address to deliver",
		"confirmation required to deliver", "please confirm your message", "your message requires confirmation",
		"challenge response"), asksInAnyWay, waitsOrKnowsNot)},

	// The question, in whatever words: it asks for something, tells that the
	// message waits for it, and why.
	{"challenge-sender", challenge, fingerprint, "", all(asks, held, stranger)},
	{"challenge-spam", challenge, fingerprint, "", all(asks, held, againstSpam)},
	{"challenge-message", challenge, fingerprint, "", all(asksInAnyWay, waits, yours, knowsNot)},

	{"challenge-advertises", challenge, veto, "", all(text("unsubscribe", "opt-out", "opt out", "to be removed",
		"remove me", "newsletter", "subscribed", "your account has", "your password", "order number", "your order",
		"your subscription", "free trial", "activate your account", "registration"))},
	{"challenge-phish", challenge, veto, "", all(text("pending messages", "incoming messages", "your mailbox is",
		"storage is", "quota", "your account will", "messages pending", "undelivered messages", "sign in to",
		"log in to", "blocked messages", "quarantined messages", "review messages", "release messages"))},
	{"challenge-list", challenge, veto, "", all(text("mailing list", "subscribe to", "list owner"))},
}

// waitsOrKnowsNot is either of what a question tells besides.
var waitsOrKnowsNot = text(slices.Concat(held.phrases, waits.phrases, knowsNot.phrases)...)

// asks is how the sender is asked to do something.
var asks = text(
	"reply to this message", "reply to this email", "reply to this e-mail", "simply reply", "just reply",
	"click the link below", "click on the link", "click on the following", "click here to", "click the following",
	"following link", "verify your", "verify that you", "confirm that you", "enter the code", "type the",
	"solve the", "prove that you", "fill out", "fill in the", "confirm your message", "complete the verification", "to confirm", "cliquez",
	"cliquer sur", "haga clic", "klicken sie", "antworten sie", "responda a este", "respondre à ce",
	"répondre à ce", "clique no link", "ответьте на это",
)

// stranger is how the sender is told that he is not known.
var stranger = text(
	"allowed list", "guest list", "approved senders", "approved sender", "whitelist", "white list", "safe list",
	"allow list", "contact list", "permitted sender", "known senders", "not on my", "not in my", "not recognized",
	"not yet been verified", "unverified", "unknown sender", "first time you", "first message from you",
	"one-time", "one time only", "only have to do this once", "only need to do this once",
	"do not have to do this again", "won't have to do this again", "liste blanche", "lista blanca",
	"lista de remetentes", "белый список",
)

// held is how the sender is told that his message waits.
var held = text(
	"your message is being held", "your message has been held", "message is waiting", "is being held",
	"has been placed on hold", "before your message", "your message will be delivered", "message to be delivered",
	"so that your message", "to deliver your message", "will not be delivered until", "hold your message",
	"has not been delivered", "has been quarantined until", "for your message to", "in order for your",
	"to release your message", "en attente", "en espera", "wird zugestellt", "será entregue",
	"message will be released", "deliver your email", "deliver your e-mail", "delivered to me",
	"in order to reach", "so i can receive", "so that i can receive", "before your email is delivered", "before your e-mail is delivered",
)

// againstSpam is what all this is for.
var againstSpam = text(
	"protected by", "to control spam", "to stop spam", "to reduce spam", "to prevent spam", "spam protection",
	"anti-spam system", "antispam system", "to fight spam", "because of spam", "unsolicited email", "avoid spam",
	"junk e-mail", "spam blocker", "human", "schutz vor spam", "contre le spam", "contra el spam", "contra spam",
	"от спама", "from spam", "receiving junk", "receiving spam", "keep spam", "block spam",
)

// What follows is the same in the main languages of mail, said more loosely; so
// it takes all four together: do something, since your own message waits, as you
// are not known.

var asksInAnyWay = text(
	"reply to this", "replying to this", "answer this", "answering this", "by replying", "simply reply",
	"simply answer", "please confirm", "confirm that you", "click", "press here", "follow this link",
	"follow the link", "open the page", "visit the", "solve the", "type the", "enter the", "verify", "to be added",
	"filling in", "fill out", "fill in the", "send an empty", "send a blank", "durch antworten", "en répondant", "respondiendo", "ao responder", "rispondendo",
	"door te antwoorden", "odpowiadając", "klicken sie", "antworten sie", "bestätigen sie", "beantworten sie", "cliquez", "cliquer", "répondez", "répondre",
	"confirmez", "haga clic", "pulse", "responda", "conteste", "confirme", "clique", "fai clic", "faccia clic",
	"clicca", "rispondi", "risponda", "confermi", "klik op", "beantwoord", "bevestig", "klicka", "svara på",
	"bekräfta", "klik på", "svar på", "bekræft", "klikk", "bekreft", "klikkaa", "vastaa", "vahvista", "kliknij",
	"odpowiedz", "potwierdź", "klikněte", "odpovězte", "potvrďte", "kliknite", "kattintson", "válaszoljon",
	"faceți clic", "răspundeți", "нажмите", "щелкните", "перейдите по", "ответьте", "подтвердите", "натисніть",
	"підтвердіть", "кликнете", "κάντε κλικ", "απαντήστε", "tıklayın", "yanıtlayın", "לחץ", "השב", "انقر", "クリック",
	"返信", "确认", "點擊", "点击", "回复", "回覆", "클릭", "회신", "คลิก", "nhấp", "klik",
)

var waits = text(
	"not been delivered", "not yet been delivered", "not been delivered yet", "waiting list", "is waiting",
	"on hold", "being held", "been held", "holding folder", "wait until", "will then be", "will be released",
	"will be delivered", "can be delivered", "get it through", "to be delivered", "to have it delivered", "have your message delivered",
	"to have your mail delivered", "in quarantine", "suspect", "ser entregad", "ser entregue", "noch nicht zugestellt", "zugestellt", "zurückgehalten",
	"en attente", "être remis", "soit remis", "parvienne", "encore été remis", "en espera", "sea entregad", "será entregad", "retenid",
	"em espera", "ainda não foi entregue", "seja entregue", "in attesa", "consegn", "trattenut", "wacht", "bezorgd",
	"afgeleverd", "väntar", "levereras", "venter", "leveres", "odottaa", "toimitetaan", "oczekuje", "doręczon",
	"dostarczon", "wstrzyman", "čeká", "doručen", "čaká", "várakozik", "kézbesít", "așteaptă", "livrat", "задержан",
	"доставлен", "ожидает", "затриман", "чака", "αναμονή", "παραδοθεί", "bekliyor", "bekletil", "teslim", "ממתינ",
	"הוחזק", "في انتظار", "保留", "配信", "届けられ", "等待", "投递", "投遞", "보류", "대기", "전달", "รอ", "đang chờ", "ditahan",
)

var yours = text(
	"your message ", "your message,", "your message.", "your message:", "your e-mail ", "your email ", "your mail ",
	"message you sent", "mail you sent", "e-mail you sent", "sent me", "ihre nachricht", "ihre e-mail", "ihre mail",
	"deine nachricht", "votre message", "votre courriel", "votre e-mail", "votre mail", "su mensaje", "su correo",
	"tu mensaje", "sua mensagem", "seu e-mail", "il tuo messaggio", "il suo messaggio", "la tua email", "uw bericht",
	"uw e-mail", "je bericht", "ditt meddelande", "ditt mejl", "din besked", "din mail", "din melding", "viestisi",
	"viestinne", "twoja wiadomość", "twoją wiadomość", "państwa wiadomość", "vaše zpráva", "váš e-mail",
	"vaša správa", "üzenete", "levele", "mesajul dumneavoastră", "mesajul dvs", "ваше письмо", "ваше сообщение",
	"ваш лист", "вашето съобщение", "вашето писмо", "το μήνυμά σας", "mesajınız", "iletiniz", "ההודעה שלך", "رسالتك",
	"お送りいただいたメール", "あなたのメール", "お客様のメール", "您发", "您的邮件", "您的郵件", "您寄", "보내신", "ข้อความของคุณ", "email của bạn",
	"thư của bạn", "pesan anda",
)

var knowsNot = text(
	"no deseado", "indésirable", "unerwünscht", "indesiderat", "ongewenst", "es una persona", "é uma pessoa", "êtes une personne",
	"spam", "junk", "unsolicited", "approved", "allowed", "address book", "guest list", "known sender", "unknown sender",
	"not know your", "do not know you", "not recogni", "whitelist", "only once", "just this once", "just once",
	"one-time", "one time", "real person", "a person", "human", "robot", "einmalig", "bekannten absender",
	"unbekannte absender", "expéditeurs inconnus", "qu'une fois", "une seule fois", "liste blanche", "una sola vez",
	"lista de remitentes", "uma única vez", "remetentes", "una sola volta", "mittent", "eenmalig",
	"onbekende afzender", "engångs", "okänd avsändare", "kun én gang", "ukendt afsender", "vain kerran",
	"tuntematon", "jednorazow", "znanych nadawców", "nieznan", "jednoráz", "neznám", "egyszer", "ismeretlen",
	"o singură dată", "спам", "белый список", "белом списке", "один раз", "неизвестн", "σπαμ", "μία φορά",
	"bir kez", "istenmeyen", "דואר זבל", "مزعج", "迷惑メール", "初めての", "一度だけ", "垃圾邮件", "垃圾郵件", "陌生",
	"一次", "스팸", "한 번만", "สแปม", "thư rác", "sampah",
)
