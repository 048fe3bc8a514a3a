package daemon

import (
	"cmp"
	"time"

	"backscatter/evidence"
	"backscatter/evidence/lookup"
	"backscatter/ops/config"
	"backscatter/ops/control"
)

// DryJudge returns what judges messages by the configuration alone: without a
// daemon, without a state, and without keeping anything.
func DryJudge(c *config.Config) (func(r control.ReportRequest, raw []byte, truncated bool) evidence.Finding, error) {
	judging, err := c.JudgeConfig([32]byte{}) // nothing is kept, so no recipient is hashed for keeps
	if err != nil {
		return nil, err
	}
	pure, err := evidence.NewJudge(judging)
	if err != nil {
		return nil, err
	}
	judge := lookup.Judge{Judgement: pure, Lookup: c.Lookup()}
	return func(r control.ReportRequest, raw []byte, truncated bool) evidence.Finding {
		now := time.Now()
		r.Reporter = cmp.Or(r.Reporter, c.FirstReporter())
		report := r.Report(now)
		report.Raw, report.Truncated = raw, truncated
		return judge.Judge(report, now)
	}, nil
}
