package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"backscatter/evidence"
	"backscatter/listing"
)

// Client speaks to a daemon, or to a [Server] in its own process. Its methods
// return an [*Error] for what the other side refused, and an error that wraps
// [ErrUnreachable] when there is no other side.
type Client struct {
	http  *http.Client
	where string
	wait  time.Duration // for the answer to a ping
}

// pingWait is far more than a daemon needs that does anything at all.
const pingWait = 10 * time.Second

// Dial returns a client of the daemon that listens on the unix socket. Nothing
// is connected before the first request.
func Dial(socket string) *Client {
	return &Client{where: socket, wait: pingWait, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			d := net.Dialer{Timeout: 5 * time.Second}
			return d.DialContext(ctx, "unix", socket)
		},
		MaxIdleConnsPerHost: 64,
		DisableCompression:  true,
	}}}
}

// Local returns a client whose requests s answers in this process, in the name
// of by.
func Local(s *Server, by listing.Actor) *Client {
	return &Client{where: "this process", wait: pingWait, http: &http.Client{Transport: &localTransport{s, by}}}
}

// Ping asks whether anybody answers, and nothing else. A daemon that hangs is
// not reachable.
func (c *Client) Ping(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, c.wait)
	defer cancel()
	resp, err := c.do(bounded, http.MethodGet, "ping", nil, nil)
	if err == nil {
		return resp.Body.Close()
	}
	if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrUnreachable) {
		return fmt.Errorf("%w at %s: it does not answer within %s; see its log", ErrUnreachable, c.where, c.wait)
	}
	return err
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status asks what the daemon is doing.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var out Status
	return out, c.get(ctx, "status", nil, &out)
}

// Show asks for everything known about an address or a prefix. With public it
// is what a listed party may see.
func (c *Client) Show(ctx context.Context, key string, public bool) (listing.Explanation, error) {
	return c.ShowAt(ctx, key, time.Time{}, public)
}

// ShowAt asks for what was so at a moment of the past; the zero time is now.
func (c *Client) ShowAt(ctx context.Context, key string, at time.Time, public bool) (listing.Explanation, error) {
	q := url.Values{"key": {key}}
	setIf(q, "at", at.UTC().Format(time.RFC3339), !at.IsZero())
	setIf(q, "public", "1", public)
	var out listing.Explanation
	return out, c.get(ctx, "show", q, &out)
}

// Listings asks for one page of listings.
func (c *Client) Listings(ctx context.Context, r ListingsRequest) (ListingsPage, error) {
	q := url.Values{}
	setIf(q, "class", r.Class.String(), r.Class != listing.ClassOther)
	setIf(q, "within", r.Within.String(), r.Within.IsValid())
	setIf(q, "by", r.By.String(), r.By != 0)
	setIf(q, "after", r.After.String(), r.After.IsValid())
	setIf(q, "limit", strconv.Itoa(r.Limit), r.Limit != 0)
	var out ListingsPage
	return out, c.get(ctx, "listings", q, &out)
}

// Exemptions asks for all exemptions.
func (c *Client) Exemptions(ctx context.Context) (ExemptionsPage, error) {
	var out ExemptionsPage
	return out, c.get(ctx, "exemptions", nil, &out)
}

// Audit asks for one page of the audit.
func (c *Client) Audit(ctx context.Context, r AuditRequest) (AuditPage, error) {
	q := url.Values{}
	setIf(q, "after", strconv.FormatUint(r.After, 10), r.After != 0)
	setIf(q, "within", r.Within.String(), r.Within.IsValid())
	setIf(q, "limit", strconv.Itoa(r.Limit), r.Limit != 0)
	var out AuditPage
	return out, c.get(ctx, "audit", q, &out)
}

// Policy asks for the rule in force.
func (c *Client) Policy(ctx context.Context) (PolicyPage, error) {
	var out PolicyPage
	return out, c.get(ctx, "policy", nil, &out)
}

// List lists keys by hand.
func (c *Client) List(ctx context.Context, r ListRequest) (OrderResult, error) {
	return c.order(ctx, "list", r)
}

// Delist takes keys off the list.
func (c *Client) Delist(ctx context.Context, r DelistRequest) (OrderResult, error) {
	return c.order(ctx, "delist", r)
}

// Exempt exempts prefixes.
func (c *Client) Exempt(ctx context.Context, r ExemptRequest) (OrderResult, error) {
	return c.order(ctx, "exempt", r)
}

// Unexempt ends exemptions.
func (c *Client) Unexempt(ctx context.Context, r UnexemptRequest) (OrderResult, error) {
	return c.order(ctx, "unexempt", r)
}

func (c *Client) order(ctx context.Context, name string, r any) (OrderResult, error) {
	var out OrderResult
	return out, c.send(ctx, name, r, &out)
}

// send posts what r says.
func (c *Client) send(ctx context.Context, name string, r, out any) error {
	body, err := encode(name, r)
	if err != nil {
		return err
	}
	return c.post(ctx, name, nil, body, out)
}

func encode(name string, r any) (io.Reader, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return bytes.NewReader(body), nil
}

// Import lists by hand, or exempts, what body holds.
func (c *Client) Import(ctx context.Context, r ImportRequest, body io.Reader) (OrderResult, error) {
	q := url.Values{"format": {r.Format}, "reason": {r.Reason}}
	setIf(q, "dry_run", "1", r.DryRun)
	setIf(q, "skip_bad", "1", r.SkipBad)
	setIf(q, "as", r.As, r.As != "")
	setIf(q, "until", r.Until.UTC().Format(time.RFC3339), !r.Until.IsZero())
	var out OrderResult
	return out, c.post(ctx, "import", q, body, &out)
}

// Report hands in one message.
func (c *Client) Report(ctx context.Context, r ReportRequest, raw []byte) (evidence.Finding, error) {
	q := url.Values{}
	setIf(q, "reporter", r.Reporter, r.Reporter != "")
	setIf(q, "client_ip", r.Client.String(), r.Client.IsValid())
	setIf(q, "helo", r.HELO, r.HELO != "")
	setIf(q, "ptr", r.PTR, r.PTR != "")
	if r.MailFrom != nil {
		q.Set("mail_from", *r.MailFrom)
	}
	for _, rcpt := range r.Recipients {
		q.Add("rcpt", rcpt)
	}
	setIf(q, "truncated", "1", r.Truncated)
	setIf(q, "hearsay", "1", r.Hearsay)
	setIf(q, "received", r.Received.UTC().Format(time.RFC3339), !r.Received.IsZero())
	var out evidence.Finding
	return out, c.post(ctx, "report", q, bytes.NewReader(raw), &out)
}

// Reload asks the daemon to read its configuration anew.
func (c *Client) Reload(ctx context.Context) (ReloadResult, error) {
	var out ReloadResult
	return out, c.post(ctx, "reload", nil, http.NoBody, &out)
}

// Export writes one list to w. When it returns an error, what w got is no list.
func (c *Client) Export(ctx context.Context, r ExportRequest, w io.Writer) error {
	q := url.Values{"format": {r.Format}}
	setIf(q, "zone", r.Zone, r.Zone != "")
	resp, err := c.do(ctx, http.MethodGet, "export", q, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("export: broken off: %w", err)
	}
	return nil
}

func setIf(q url.Values, name, value string, set bool) {
	if set {
		q.Set(name, value)
	}
}

func (c *Client) get(ctx context.Context, name string, q url.Values, out any) error {
	return c.call(ctx, http.MethodGet, name, q, nil, out)
}

func (c *Client) post(ctx context.Context, name string, q url.Values, body io.Reader, out any) error {
	return c.call(ctx, http.MethodPost, name, q, body, out)
}

func (c *Client) call(ctx context.Context, method, name string, q url.Values, body io.Reader, out any) error {
	resp, err := c.do(ctx, method, name, q, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("%s: read the daemon's answer: %w", name, err)
	}
	return nil
}

// do sends one request and turns refusals into errors.
func (c *Client) do(ctx context.Context, method, name string, q url.Values, body io.Reader) (*http.Response, error) {
	target := url.URL{Scheme: "http", Host: "backscatter", Path: "/v1/" + name, RawQuery: q.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, target.String(), body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.transportError(name, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("%s: read the daemon's answer: %w", name, err)
	}
	var refused errorBody
	if err := json.Unmarshal(text, &refused); err != nil || refused.Error == nil {
		return nil, fmt.Errorf("%s: the daemon answered %s: %s", name, resp.Status, strings.TrimSpace(string(text)))
	}
	refused.Error.Status = resp.StatusCode
	return nil, refused.Error
}

// transportError says what it means for an operator that nobody answered.
func (c *Client) transportError(name string, err error) error {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "dial" {
		return fmt.Errorf("%s: speak to the daemon on %s: %w", name, c.where, err)
	}
	why := err
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
		why = errors.New("no daemon listens there; start it with 'backscatter serve', or name its socket with --socket")
	case errors.Is(err, syscall.EACCES):
		why = errors.New("permission denied; run this as the daemon's user or as a member of its group")
	}
	return fmt.Errorf("%w at %s: %w", ErrUnreachable, c.where, why)
}
