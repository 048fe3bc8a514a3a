//go:build !linux

package main

import "errors"

const echoPort = "BENCHDNS_PORT" // the environment variable that tells the loop its port

func serveEcho() error { return errors.New("it measures on Linux only") }
