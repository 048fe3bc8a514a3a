package remote_test

import (
	"crypto/ed25519"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"backscatter/listing"
	"backscatter/ops/remote"
)

// TestRFC9421 verifies the example of RFC 9421, appendix B.2.6, with the key of
// B.1.4.
func TestRFC9421(t *testing.T) {
	t.Parallel()
	key, err := remote.ParsePublicKey("-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=\n-----END PUBLIC KEY-----\n")
	if err != nil {
		t.Fatal(err)
	}
	example := func() *http.Request {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://example.com/foo?param=Value&Pet=dog", strings.NewReader(`{"hello": "world"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Date", "Tue, 20 Apr 2021 02:07:55 GMT")
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Content-Length", "18")
		r.Header.Set("Signature-Input", `sig-b26=("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519"`)
		r.Header.Set("Signature", "sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:")
		return r
	}
	if err := remote.Verify(example(), "sig-b26", key); err != nil {
		t.Errorf("the RFC's own example: %v", err)
	}
	for name, change := range map[string]func(*http.Request){
		"method":    func(r *http.Request) { r.Method = http.MethodPut },
		"path":      func(r *http.Request) { r.URL.Path = "/Foo" },
		"authority": func(r *http.Request) { r.Host = "example.org" },
		"date":      func(r *http.Request) { r.Header.Set("Date", "Tue, 20 Apr 2021 02:07:56 GMT") },
		"one more":  func(r *http.Request) { r.Header.Add("Content-Type", "text/plain") },
		"parameter": func(r *http.Request) {
			r.Header.Set("Signature-Input", strings.Replace(r.Header.Get("Signature-Input"), "1618884473", "1618884474", 1))
		},
	} {
		r := example()
		change(r)
		if err := remote.Verify(r, "sig-b26", key); err == nil {
			t.Errorf("%s was changed, and the signature fits", name)
		}
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	secret, public, err := remote.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "reporter.key")
	if err := os.WriteFile(name, secret, 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := remote.LoadKey(name)
	if err != nil {
		t.Fatal(err)
	}
	middle := strings.Split(string(public), "\n")[1]
	for form, text := range map[string]string{"PEM": string(public), "its middle": " " + middle + "\n"} {
		parsed, err := remote.ParsePublicKey(text)
		if err != nil || !parsed.Equal(key.Public()) {
			t.Errorf("%s: %v", form, err)
		}
	}
	if listing.KeyID(key.Public().(ed25519.PublicKey)).IsZero() {
		t.Error("no name")
	}
	for _, bad := range []string{"", "!", string(secret), "AAAA", strings.Repeat("A", 1<<20)} {
		if _, err := remote.ParsePublicKey(bad); err == nil {
			t.Errorf("%.40q is a public key", bad)
		}
	}
	if err := os.Chmod(name, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := remote.LoadKey(name); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key that others can read: %v", err)
	}
	if err := os.WriteFile(name+".2", public, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := remote.LoadKey(name + ".2"); err == nil {
		t.Error("a public half as a secret one")
	}
}
