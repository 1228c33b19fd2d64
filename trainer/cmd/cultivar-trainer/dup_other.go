//go:build !linux

package main

import "syscall"

// dup2 makes to another number of the open file from.
func dup2(from, to int) error { return syscall.Dup2(from, to) }
