package remote

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Types of PEM blocks: PKCS #8 (RFC 5958) and SubjectPublicKeyInfo (RFC 8410),
// so that others, openssl for one, read and make such keys.
const (
	pemSecret = "PRIVATE KEY"
	pemPublic = "PUBLIC KEY"
)

// maxKeyFile bounds the file of a key.
const maxKeyFile = 16 << 10

// NewKey makes a key, and returns its halves as text.
func NewKey() (secret, public []byte, err error) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	inner, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	outer, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemSecret, Bytes: inner}), pem.EncodeToMemory(&pem.Block{Type: pemPublic, Bytes: outer}), nil
}

// LoadKey reads the secret half of a key from a file that nobody else may read.
func LoadKey(name string) (ed25519.PrivateKey, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read the reporter's key: %w; 'backscatter reporter keygen' makes one", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read the reporter's key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("the reporter's key %s has mode %#o, and others can sign with it; chmod 600", name, info.Mode().Perm())
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, fmt.Errorf("read the reporter's key: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != pemSecret {
		return nil, fmt.Errorf("the reporter's key %s: want PEM with a %s, as 'reporter keygen' writes it", name, pemSecret)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the reporter's key %s: %w", name, err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("the reporter's key %s is a %T, want Ed25519", name, parsed)
	}
	return key, nil
}

var errNoPublicKey = errors.New("want a public key of Ed25519: PEM, or its text in base64 on one line")

// ParsePublicKey reads the public half of a key: as PEM, or what stands between
// its first line and its last.
func ParsePublicKey(text string) (ed25519.PublicKey, error) {
	if len(text) > maxKeyFile {
		return nil, errNoPublicKey
	}
	var der []byte
	if block, _ := pem.Decode([]byte(text)); block != nil && block.Type == pemPublic {
		der = block.Bytes
	} else if der, _ = base64.StdEncoding.DecodeString(strings.TrimSpace(text)); len(der) == 0 {
		return nil, errNoPublicKey
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, errNoPublicKey
	}
	key, ok := parsed.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("it is a %T: %w", parsed, errNoPublicKey)
	}
	return key, nil
}
