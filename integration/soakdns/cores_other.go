//go:build !linux

package main

func apart(int) error { return nil }

func together() error { return nil }
