package main

/*
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#define LEVEL "TF_CPP_MIN_LOG_LEVEL="

// TensorFlow makes its first remarks while the loader initialises its library, and fixes its log level then. What
// stands in .preinit_array runs before any library's initialisation: there the process starts itself again with the
// level in its environment, keeping its number and start time. If that is not possible there are a few remarks more.
static void cultivar_quiet(int argc, char **argv, char **envp) {
	size_t n = 0;
	for (; envp[n] != NULL; n++) {
		if (strncmp(envp[n], LEVEL, sizeof LEVEL - 1) == 0) return;
	}
	if (n > 4096) return;
	char *quiet[n + 2];
	memcpy(quiet, envp, n * sizeof *quiet);
	quiet[n] = LEVEL "2";
	quiet[n + 1] = NULL;
	execve("/proc/self/exe", argv, quiet);
}

__attribute__((section(".preinit_array"), used))
static void (*const cultivar_quiet_entry)(int, char **, char **) = cultivar_quiet;

*/
import "C"
