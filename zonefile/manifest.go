package zonefile

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"aead.dev/minisign"
)

// Names of what says which files belong together, and of its signature, which
// minisign(1) takes.
const (
	ManifestName  = "MANIFEST"
	SignatureName = "MANIFEST.minisig"
)

const (
	manifestLifetime = 48 * time.Hour // as that of rbldnsd's files, see lifetime
	maxManifest      = 1 << 20
)

// Manifest tells which files make up a publication. It is renewed when the list
// changes, and with the stamp of rbldnsd's files every day.
type Manifest struct {
	Zone    string    `json:"zone"`
	Serial  uint32    `json:"serial"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	// Published is when the list came to be as it is, which _status tells.
	Published time.Time `json:"published"`
	// Ended is when the list was taken out of service for good.
	Ended    time.Time      `json:"decommissioned,omitzero"`
	Settings *Settings      `json:"settings"`
	Files    []ManifestFile `json:"files"`
}

// ManifestFile is one of them.
type ManifestFile struct {
	Name    string `json:"name"`
	SHA256  string `json:"sha256"`
	Size    int64  `json:"size"`
	Entries int    `json:"entries"`
}

func (m Manifest) encode() []byte {
	text, _ := json.MarshalIndent(m, "", "  ") // plain values
	return append(text, '\n')
}

// comment is what the signature says, and covers.
func (m Manifest) comment() string {
	return fmt.Sprintf("zone=%s serial=%d expires=%s", m.Zone, m.Serial, stamp(m.Expires))
}

// ReadManifest reads the manifest of a directory without its signature.
func ReadManifest(dir string) (Manifest, error) {
	text, err := readSmall(filepath.Join(dir, ManifestName))
	if err != nil {
		return Manifest{}, err
	}
	return decodeManifest(text)
}

// OpenManifest reads the manifest of a directory, if the key signed it.
func OpenManifest(dir string, key minisign.PublicKey) (Manifest, error) {
	text, err := readSmall(filepath.Join(dir, ManifestName))
	if err != nil {
		return Manifest{}, err
	}
	signature, err := readSmall(filepath.Join(dir, SignatureName))
	if err != nil {
		return Manifest{}, err
	}
	return openManifest(dir, text, signature, &key)
}

// openManifest decodes a manifest of the directory, if the key, unless it is nil,
// signed it.
func openManifest(dir string, text, signature []byte, key *minisign.PublicKey) (Manifest, error) {
	if key != nil && !minisign.Verify(*key, text, signature) {
		return Manifest{}, fmt.Errorf("%s: the signature beside it is not that of key %016X on these bytes", filepath.Join(dir, ManifestName), key.ID())
	}
	m, err := decodeManifest(text)
	if err != nil || key == nil {
		return m, err
	}
	var s minisign.Signature
	if err := s.UnmarshalText(signature); err != nil {
		return Manifest{}, err
	}
	if s.TrustedComment != m.comment() {
		return Manifest{}, fmt.Errorf("%s: the signature is for %q, not %q", filepath.Join(dir, SignatureName), s.TrustedComment, m.comment())
	}
	return m, nil
}

// ReadPublicKey reads the public half of a key: the text of its file, or the one
// line in it that matters.
func ReadPublicKey(text string) (*minisign.PublicKey, error) {
	lines := strings.Fields(text)
	var key minisign.PublicKey
	if len(lines) == 0 {
		return nil, errors.New("no public key of minisign: it is empty")
	}
	if err := key.UnmarshalText([]byte(lines[len(lines)-1])); err != nil {
		return nil, fmt.Errorf("no public key of minisign: %w", err)
	}
	return &key, nil
}

func decodeManifest(text []byte) (m Manifest, err error) {
	if err := json.Unmarshal(text, &m); err != nil {
		return Manifest{}, fmt.Errorf("%s: %w", ManifestName, err)
	}
	if err := checkName("zone", m.Zone); err != nil {
		return Manifest{}, fmt.Errorf("%s: %w", ManifestName, err)
	}
	for _, f := range m.Files {
		if f.Name != filepath.Base(f.Name) || f.Name == "." || f.Name == ".." || f.Size < 0 || f.Entries < 0 {
			return Manifest{}, fmt.Errorf("%s: %q: no file of a directory", ManifestName, f.Name)
		}
	}
	return m, nil
}

// Verify reads every file of the manifest in the directory and compares it.
func (m Manifest) Verify(dir string) error {
	var errs []error
	for _, f := range m.Files {
		errs = append(errs, f.verify(dir))
	}
	return errors.Join(errs...)
}

func (f ManifestFile) verify(dir string) error {
	name := filepath.Join(dir, f.Name)
	in, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // it was only read
	sum := sha256.New()
	size, err := io.Copy(sum, io.LimitReader(in, f.Size+1))
	switch {
	case err != nil:
		return err
	case size != f.Size:
		return fmt.Errorf("%s: has not the %d bytes of the manifest", name, f.Size)
	case hex.EncodeToString(sum.Sum(nil)) != f.SHA256:
		return fmt.Errorf("%s: has other bytes than those of the manifest", name)
	}
	return nil
}

func readSmall(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err == nil && len(text) > maxManifest {
		err = fmt.Errorf("longer than %d bytes", maxManifest)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return text, nil
}

// SigningKey signs manifests.
type SigningKey struct{ private minisign.PrivateKey }

// NewKey makes a key. It returns the text of the file with the secret, which the
// passphrase, unless it is empty, protects, and of the file with the public half.
func NewKey(passphrase string) (secret, public []byte, err error) {
	pub, private, err := minisign.GenerateKey(nil)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	if passphrase == "" {
		secret, err = private.MarshalText()
	} else {
		secret, err = minisign.EncryptKey(passphrase, private)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	public, err = pub.MarshalText()
	return append(secret, '\n'), append(public, '\n'), err
}

// ReadKey reads the text of a file with a secret. A passphrase costs a gigabyte
// of memory for a moment: that is minisign's measure against guessing.
func ReadKey(secret []byte, passphrase string) (*SigningKey, error) {
	k := &SigningKey{}
	var err error
	switch encrypted := minisign.IsEncrypted(secret); {
	case encrypted && passphrase == "":
		return nil, errors.New("the key is protected by a passphrase, and none is given")
	case encrypted:
		k.private, err = minisign.DecryptKey(passphrase, secret)
	default:
		err = k.private.UnmarshalText(secret)
	}
	if err != nil {
		return nil, fmt.Errorf("no secret key of minisign, or another passphrase: %w", err)
	}
	return k, nil
}

// sign returns the signature of a manifest. It follows from the text alone, so
// that an unchanged manifest has an unchanged signature.
func (k *SigningKey) sign(text []byte, m Manifest) []byte {
	return append(minisign.SignWithComments(k.private, text, m.comment(), "backscatter export of "+m.Zone), '\n')
}
