package remote

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/dunglas/httpsfv"

	"backscatter/listing"
)

// Names and bounds of what is signed.
const (
	sigLabel      = "reports"
	sigTag        = "backscatter-reports"
	sigAlgorithm  = "ed25519"
	maxComponents = 16
	maxSigField   = 4 << 10 // octets of each of the signature's fields
	minNonce      = 8
	maxNonce      = 128
)

// covered is what a signature must cover.
var covered = []string{"@method", "@authority", "@path", "content-type", "content-digest"}

// acceptSignature tells who asks without a good signature what is wanted (RFC
// 9421 §5.1).
const acceptSignature = sigLabel + `=("@method" "@authority" "@path" "content-type" "content-digest");created;nonce;keyid;alg="` + sigAlgorithm + `";tag="` + sigTag + `"`

// errSignature is wrapped by all that is wrong with a signature.
var errSignature = errors.New("no good signature")

// signed is a signature as a request carries it.
type signed struct {
	label   string
	input   httpsfv.InnerList // what is covered, and the parameters
	value   []byte
	keyID   listing.ID
	nonce   string
	created time.Time
	expires time.Time // zero: not said
}

// Sign signs a request with the given body by key, at the time now.
func Sign(r *http.Request, body []byte, key ed25519.PrivateKey, now time.Time) error {
	sum := sha256.Sum256(body)
	r.Header.Set("Content-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(sum[:])+":")
	params := httpsfv.NewParams()
	params.Add("created", now.Unix())
	params.Add("nonce", rand.Text())
	params.Add("keyid", listing.KeyID(key.Public().(ed25519.PublicKey)).String())
	params.Add("alg", sigAlgorithm)
	params.Add("tag", sigTag)
	input := httpsfv.InnerList{Params: params}
	for _, name := range covered {
		input.Items = append(input.Items, httpsfv.NewItem(name))
	}
	base, err := signatureBase(r, input)
	if err != nil {
		return err
	}
	for field, member := range map[string]httpsfv.Member{
		"Signature-Input": input, "Signature": httpsfv.NewItem(ed25519.Sign(key, base)),
	} {
		d := httpsfv.NewDictionary()
		d.Add(sigLabel, member)
		text, err := httpsfv.Marshal(d)
		if err != nil {
			return fmt.Errorf("sign a request: %w", err)
		}
		r.Header.Set(field, text)
	}
	return nil
}

// signatureBase returns what is signed of a request (RFC 9421 §2.5).
func signatureBase(r *http.Request, input httpsfv.InnerList) ([]byte, error) {
	var b strings.Builder
	seen := map[string]bool{}
	for _, item := range input.Items {
		name, ok := item.Value.(string)
		switch {
		case !ok || len(item.Params.Names()) > 0:
			return nil, fmt.Errorf("a component has parameters, or is no text: %w", errSignature)
		case seen[name]:
			return nil, fmt.Errorf("component %q is there twice: %w", name, errSignature)
		}
		seen[name] = true
		value, err := component(r, name)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%q: %s\n", name, value)
	}
	params, err := httpsfv.Marshal(httpsfv.List{input})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, errSignature)
	}
	fmt.Fprintf(&b, "\"@signature-params\": %s", params)
	return []byte(b.String()), nil
}

// component returns the value of one part of a request (RFC 9421 §2.1, §2.2).
func component(r *http.Request, name string) (string, error) {
	switch name {
	case "@method":
		return r.Method, nil
	case "@authority":
		return authority(r), nil
	case "@path":
		if path := r.URL.EscapedPath(); path != "" {
			return path, nil
		}
		return "/", nil
	}
	values := r.Header.Values(name)
	if name != strings.ToLower(name) || strings.HasPrefix(name, "@") || len(values) == 0 {
		return "", fmt.Errorf("component %q is not there, or not known: %w", name, errSignature)
	}
	parts := make([]string, len(values))
	for i, v := range values {
		parts[i] = strings.TrimSpace(v)
	}
	return strings.Join(parts, ", "), nil
}

// authority is the host that a request is for, without the port that goes
// without saying (RFC 9421 §2.2.3). Only HTTPS has one here, whatever a proxy in
// between speaks.
func authority(r *http.Request) string {
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	return strings.ToLower(strings.TrimSuffix(host, ":443"))
}

// hostOf returns an authority without its port.
func hostOf(authority string) string {
	if host, _, err := net.SplitHostPort(authority); err == nil {
		return host
	}
	return strings.Trim(authority, "[]")
}

// signatureOf reads the signature of a request, without looking whether it is
// right.
func signatureOf(h http.Header) (*signed, error) {
	inputs, err := dictionary(h, "Signature-Input")
	if err != nil {
		return nil, err
	}
	values, err := dictionary(h, "Signature")
	if err != nil {
		return nil, err
	}
	s := &signed{label: ours(inputs)}
	member, _ := inputs.Get(s.label)
	input, isList := member.(httpsfv.InnerList)
	if !isList || len(input.Items) > maxComponents || input.Params == nil {
		return nil, fmt.Errorf("the field Signature-Input has no signature with the tag %s, or one that covers too much: %w", sigTag, errSignature)
	}
	s.input = input
	member, _ = values.Get(s.label)
	item, _ := member.(httpsfv.Item)
	if s.value, _ = item.Value.([]byte); len(s.value) != ed25519.SignatureSize {
		return nil, fmt.Errorf("the field Signature has no %q of %d octets: %w", s.label, ed25519.SignatureSize, errSignature)
	}
	return s, s.readParams(input.Params)
}

func dictionary(h http.Header, name string) (*httpsfv.Dictionary, error) {
	values := h.Values(name)
	size := 0
	for _, v := range values {
		size += len(v)
	}
	if size == 0 || size > maxSigField {
		return nil, fmt.Errorf("the field %s is not there, or longer than %d octets: %w", name, maxSigField, errSignature)
	}
	d, err := httpsfv.UnmarshalDictionary(values)
	if err != nil {
		return nil, fmt.Errorf("the field %s: %w: %w", name, err, errSignature)
	}
	return d, nil
}

// ours returns the label of the first signature with our tag: there may be those
// of proxies beside it.
func ours(inputs *httpsfv.Dictionary) string {
	for _, label := range inputs.Names() {
		member, _ := inputs.Get(label)
		if input, ok := member.(httpsfv.InnerList); ok && input.Params != nil {
			if tag, _ := input.Params.Get("tag"); tag == sigTag {
				return label
			}
		}
	}
	return ""
}

func (s *signed) readParams(p *httpsfv.Params) error {
	text := func(name string) string {
		v, _ := p.Get(name)
		out, _ := v.(string)
		return out
	}
	when := func(name string) time.Time {
		v, _ := p.Get(name)
		if seconds, ok := v.(int64); ok {
			return time.Unix(seconds, 0)
		}
		return time.Time{}
	}
	if _, told := p.Get("alg"); told && text("alg") != sigAlgorithm {
		return fmt.Errorf("the algorithm %q is not %s: %w", text("alg"), sigAlgorithm, errSignature)
	}
	s.nonce, s.created, s.expires = text("nonce"), when("created"), when("expires")
	err := s.keyID.UnmarshalText([]byte(text("keyid")))
	switch {
	case err != nil || s.keyID.IsZero():
		return fmt.Errorf("keyid: want 32 hexadecimal digits: %w", errSignature)
	case len(s.nonce) < minNonce || len(s.nonce) > maxNonce:
		return fmt.Errorf("nonce: want %d to %d characters: %w", minNonce, maxNonce, errSignature)
	case s.created.IsZero():
		return fmt.Errorf("created: want a time: %w", errSignature)
	}
	return nil
}

// verify reports what is wrong with the signature of a request by the key.
func (s *signed) verify(r *http.Request, key ed25519.PublicKey) error {
	names := make([]string, 0, len(s.input.Items))
	for _, item := range s.input.Items {
		name, _ := item.Value.(string)
		names = append(names, name)
	}
	for _, name := range covered {
		if !slices.Contains(names, name) {
			return fmt.Errorf("it does not cover %q: %w", name, errSignature)
		}
	}
	base, err := signatureBase(r, s.input)
	if err != nil {
		return err
	}
	if len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, base, s.value) {
		return fmt.Errorf("the signature does not fit the request: %w", errSignature)
	}
	return nil
}

// fresh reports what is wrong with the time of a signature.
func (s *signed) fresh(now time.Time, window time.Duration) error {
	switch off := now.Sub(s.created); {
	case off > window || off < -window:
		return fmt.Errorf("it was made at %s by your clock, and here it is %s; set the clock: %w",
			s.created.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339), errSignature)
	case !s.expires.IsZero() && now.After(s.expires):
		return fmt.Errorf("it expired at %s: %w", s.expires.UTC().Format(time.RFC3339), errSignature)
	}
	return nil
}

var errDigest = errors.New("the body is not what Content-Digest says")

// checkDigest compares a body with its digests (RFC 9530 §2). One that is known
// must be there, and all that are known must fit.
func checkDigest(h http.Header, body []byte) error {
	d, err := dictionary(h, "Content-Digest")
	if err != nil {
		return errDigest
	}
	fits := false
	for _, name := range d.Names() {
		var sum []byte
		switch name {
		case "sha-256":
			s := sha256.Sum256(body)
			sum = s[:]
		case "sha-512":
			s := sha512.Sum512(body)
			sum = s[:]
		default:
			continue
		}
		member, _ := d.Get(name)
		item, _ := member.(httpsfv.Item)
		told, _ := item.Value.([]byte)
		if subtle.ConstantTimeCompare(told, sum) != 1 {
			return errDigest
		}
		fits = true
	}
	if !fits {
		return errDigest
	}
	return nil
}
