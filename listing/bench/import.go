package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// imports is how many listings are imported at once.
const imports = 900_000

// sampleEvery is how often the memory of the process that imports is looked at.
const sampleEvery = 5 * time.Millisecond

// imported measures the memory of a process that takes a whole list in one order,
// one transaction.
func (b *bench) imported(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	n := min(imports, b.listings)
	cmd := exec.CommandContext(ctx, self, "import", b.path("import.db"), strconv.Itoa(n))
	cmd.Stderr = os.Stderr
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }() // ends with the process
	most := int64(0)
	for {
		select {
		case err := <-done:
			if err != nil {
				return err
			}
			b.row(row{
				what:   fmt.Sprintf("memory while %d listings are imported at once", n),
				figure: fmt.Sprintf("%.0f MiB", mib(most)), beside: fmt.Sprintf("%.0f bytes a listing, %s in all", float64(most)/float64(n), time.Since(begun).Round(10*time.Millisecond)),
			})
			return nil
		case <-time.After(sampleEvery):
		}
		if now, err := memoryOf(cmd.Process.Pid, "RssAnon"); err == nil { // it may just have ended
			most = max(most, now)
		}
	}
}

// importList is the other process.
func importList(ctx context.Context, path, count string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	s, err := start(path, lazy())
	if err != nil {
		return err
	}
	if err := s.list(ctx, 0, n, time.Time{}); err != nil {
		return err
	}
	return s.stop()
}
