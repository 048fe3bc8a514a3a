package evidence

import (
	"crypto/hmac"
	"crypto/md5"  //nolint:gosec // Exim's
	"crypto/sha1" //nolint:gosec // that of all others
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// minSRSHash is the least number of characters that an SRS hash must have to
// be believed; the programs in use write four.
const minSRSHash = 4

// checkSRS reports whether recipient is an SRS0 address by one of the secrets:
//
//	SRS0=HHHH=TT=domain=local@forwarder
//
// HHHH is the beginning of the HMAC-SHA1, in Base64, of the rest in lower case
// without its separators (libsrs2, postsrsd), or of the HMAC-MD5, in
// hexadecimal, of the address in lower case (Exim). Then the bounce is one of mail that was forwarded,
// and goes to where it belongs. Its date is not looked at: a late bounce is one.
func checkSRS(recipient string, secrets []string) bool {
	at := strings.LastIndexByte(recipient, '@')
	if len(secrets) == 0 || at < 5 || !strings.EqualFold(recipient[:4], "SRS0") || !strings.ContainsRune("=-+", rune(recipient[4])) {
		return false
	}
	parts := strings.SplitN(recipient[5:at], "=", 4)
	if len(parts) != 4 || len(parts[0]) < minSRSHash {
		return false
	}
	for _, secret := range secrets {
		h := hmac.New(sha1.New, []byte(secret))
		for _, part := range parts[1:] {
			h.Write([]byte(strings.ToLower(part)))
		}
		sum := base64.StdEncoding.EncodeToString(h.Sum(nil))
		// Case is lost where mail goes, so it does not matter (as in libsrs2).
		if beginsWith(sum, parts[0]) {
			return true
		}
		h = hmac.New(md5.New, []byte(secret))
		h.Write([]byte(strings.ToLower(parts[3] + "@" + parts[2])))
		if beginsWith(hex.EncodeToString(h.Sum(nil)), parts[0]) {
			return true
		}
	}
	return false
}

func beginsWith(sum, hash string) bool {
	return len(hash) <= len(sum) && strings.EqualFold(sum[:len(hash)], hash)
}
