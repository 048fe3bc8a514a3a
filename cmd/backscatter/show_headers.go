package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"backscatter/ops/control"
)

// showHeaders prints the headers that are kept of the reports of an address.
func (a *app) showHeaders(ctx context.Context, c *control.Client, address string) error {
	page, err := c.Headers(ctx, address)
	if err != nil {
		return err
	}
	if a.asJSON {
		return a.printJSON(page)
	}
	var b strings.Builder
	for _, h := range page.Headers {
		fmt.Fprintf(&b, "%s event %s\n", stamp(h.At), h.ID)
		for line := range strings.SplitSeq(strings.TrimSuffix(h.Text, "\n"), "\n") {
			fmt.Fprintf(&b, "  %s\n", printable(line))
		}
		b.WriteByte('\n')
	}
	switch {
	case len(page.Headers) > 0:
		fmt.Fprintf(&b, "~ and eight digits stand for what was taken out, the same for the same\n")
	case page.Keeping:
		fmt.Fprintf(&b, "no headers are kept of %s\n", page.Key)
	default:
		fmt.Fprintf(&b, "no headers are kept of %s: the configuration has headers.keep 0s\n", page.Key)
	}
	_, err = io.WriteString(a.out, b.String())
	return err
}
