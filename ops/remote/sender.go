package remote

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"time"

	"backscatter/evidence"
)

// Sender sends signed requests to one list.
type Sender struct {
	URL    *url.URL
	Key    ed25519.PrivateKey
	Limits Limits // Body and Reports, of one request
	Client *http.Client
}

// ParseURL reads where a list takes reports. Without a path, [Path] is meant.
// Plain HTTP is for a list, or a tunnel to it, on the same machine.
func ParseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%q: want a URL like https://bl.example.org%s: %w", text, Path, err)
	}
	switch {
	case u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("%q: want a URL like https://bl.example.org%s", text, Path)
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return nil, fmt.Errorf("%q: reports go over HTTPS, and in plain to this machine alone", text)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = Path
	}
	return u, nil
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// sendTimeout bounds one request, the answer included.
const sendTimeout = 3 * time.Minute

// NewClient returns the client for a sender. It believes in the authorities of the
// file, or of the system without one, and follows nobody elsewhere.
func NewClient(caFile string) (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		text, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("read the authorities: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("read the authorities: %s has no certificate in PEM", caFile)
		}
	}
	dialer := &net.Dialer{Timeout: 15 * time.Second}
	return &http.Client{
		Timeout: sendTimeout,
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, TLSClientConfig: config,
			TLSHandshakeTimeout: 15 * time.Second, ForceAttemptHTTP2: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// StatusError is a refusal by the list.
type StatusError struct {
	Status     int
	Code       string
	Message    string
	RetryAfter time.Duration // zero: not said
}

// Error tells the list's words.
func (e *StatusError) Error() string {
	return fmt.Sprintf("the list answered %d %s: %s", e.Status, cmp.Or(e.Code, http.StatusText(e.Status)), e.Message)
}

// Permanent reports whether trying again helps only after somebody mended
// something.
func (e *StatusError) Permanent() bool {
	switch e.Status {
	case http.StatusConflict, http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return e.Status < 500
}

func (e *StatusError) tooLarge() bool { return e.Status == http.StatusRequestEntityTooLarge }

// Send sends a body of so many reports, and returns an answer for each. A request
// whose nonce was used, as a proxy in between may send one twice, is signed anew
// once.
func (s *Sender) Send(ctx context.Context, body []byte, reports int) ([]Answer, error) {
	answers, err := s.send(ctx, body, reports)
	if refused, ok := errors.AsType[*StatusError](err); ok && refused.Status == http.StatusConflict {
		return s.send(ctx, body, reports)
	}
	return answers, err
}

func (s *Sender) send(ctx context.Context, body []byte, reports int) ([]Answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("send reports: %w", err)
	}
	r.Header.Set("Content-Type", ContentType)
	r.Header.Set("User-Agent", "backscatter")
	if err := Sign(r, body, s.Key, time.Now()); err != nil {
		return nil, err
	}
	response, err := s.Client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("send reports: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, statusError(response)
	}
	answers, err := readAnswers(response.Body, reports)
	if err != nil {
		return nil, fmt.Errorf("send reports to %s: %w", s.URL.Host, err)
	}
	return answers, nil
}

const (
	maxAnswer  = 64 << 10 // octets of one answer that is read, or of a refusal
	maxAnswers = 64 << 20 // of all
	maxMessage = 500
)

var errAnswers = errors.New("the list's answer is not understood; is this its URL?")

// readAnswers reads an answer for each report, in order. One that is too long to
// be of use is an answer all the same.
func readAnswers(r io.Reader, reports int) ([]Answer, error) {
	in := bufio.NewReaderSize(io.LimitReader(r, maxAnswers), maxAnswer)
	answers := make([]Answer, 0, reports)
	for {
		line, err := in.ReadSlice('\n')
		long := false
		for errors.Is(err, bufio.ErrBufferFull) {
			long = true
			_, err = in.ReadSlice('\n')
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if long || len(bytes.TrimSpace(line)) > 0 {
			a := Answer{Index: len(answers), Verdict: evidence.Failed, Reason: "the list's answer is too long to be read"}
			if !long && json.Unmarshal(line, &a) != nil || a.Index != len(answers) || len(answers) == reports {
				return nil, errAnswers
			}
			answers = append(answers, a)
		}
		if err != nil {
			break
		}
	}
	if len(answers) != reports {
		return nil, errAnswers
	}
	return answers, nil
}

func statusError(response *http.Response) *StatusError {
	e := &StatusError{Status: response.StatusCode}
	text, _ := io.ReadAll(io.LimitReader(response.Body, maxAnswer)) // what there is of it
	var told Refusal
	if json.Unmarshal(text, &told) == nil {
		e.Code, e.Message = told.Error.Code, told.Error.Message
	} else {
		e.Message = string(text[:min(len(text), maxMessage)])
	}
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
		e.RetryAfter = time.Duration(min(seconds, 24*3600)) * time.Second
	}
	return e
}
