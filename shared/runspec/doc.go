// Package runspec is the contract between the server and the trainer: the recipe (every hyperparameter of a training),
// the spec a trainer reads, the records it writes, its exit codes and the names of files on the shared volume.
// It holds data and checks only; it reads and writes no files.
package runspec

// Version is the number of the spec and record formats. A server accepts trainers of this version and the one before.
const Version = 1
