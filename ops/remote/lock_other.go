//go:build !unix

package remote

// lockFile takes no lock where there is none: two that send at a time send some
// reports twice, which counts once.
func lockFile(string) (release func() error, got bool, err error) {
	return func() error { return nil }, true, nil
}
