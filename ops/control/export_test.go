package control

import "time"

// SetWait sets how long a ping waits for its answer.
func (c *Client) SetWait(d time.Duration) { c.wait = d }
