package daemon

import (
	"errors"
	"reflect"

	"backscatter/dnsd"
	"backscatter/ops/config"
)

// samples is what a server samples of the questions. The file of its log is open.
type samples struct {
	log *dnsd.QueryLog
	tap *dnsd.Tap
}

// openSamples opens what a configuration wants. The log is opened anew although
// nothing has changed: its former file may have been moved away.
func openSamples(c *config.Config, version string) (samples, error) {
	log, err := c.OpenQueryLog()
	return samples{log: log, tap: c.Tap(version)}, err
}

// use puts samples in force, and what was sampled is finished. Who reads dnstap
// keeps his connection, unless something has changed.
func (s samples) use(server *dnsd.Server, former *dnsd.Tap) {
	server.LogQueries(s.log)
	if !reflect.DeepEqual(s.tap, former) {
		server.Tap(s.tap)
	}
}

// drop closes samples that are not used, for err.
func (s samples) drop(err error) error {
	if s.log == nil || s.log.To == nil {
		return err
	}
	return errors.Join(err, s.log.To.Close())
}
