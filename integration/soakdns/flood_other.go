//go:build !linux

package main

import (
	"context"
	"errors"
	"time"
)

func flood(context.Context, string, float64, time.Duration, int) (int, error) {
	return 0, errors.New("it floods on Linux only")
}
