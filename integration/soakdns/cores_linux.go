package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// apart gives a process one core, and this one all others, if there are any.
func apart(pid int) error {
	if runtime.NumCPU() == 1 {
		return nil
	}
	var allowed, one, others unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return fmt.Errorf("ask for the cores: %w", err)
	}
	others = allowed
	for cpu := range len(allowed) * strconv.IntSize {
		if allowed.IsSet(cpu) {
			one.Set(cpu)
			others.Clear(cpu)
			break
		}
	}
	if others.Count() == 0 {
		return nil
	}
	if err := confine(pid, &one); err != nil {
		return err
	}
	return confine(os.Getpid(), &others)
}

// together gives this process all cores again.
func together() error {
	var all unix.CPUSet
	for cpu := range runtime.NumCPU() {
		all.Set(cpu)
	}
	return confine(os.Getpid(), &all)
}

// confine keeps all threads of a process, and those that they will start, to cores.
func confine(pid int, cores *unix.CPUSet) error {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil {
		return err
	}
	for _, path := range threads {
		thread, err := strconv.Atoi(filepath.Base(path))
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(thread, cores); err != nil && !errors.Is(err, unix.ESRCH) { // it may have ended
			return fmt.Errorf("choose cores for thread %d: %w", thread, err)
		}
	}
	return nil
}
