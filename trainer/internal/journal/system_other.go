//go:build !linux

package journal

// maxRSSUnit is the unit of ru_maxrss in bytes on macOS.
const maxRSSUnit = 1
