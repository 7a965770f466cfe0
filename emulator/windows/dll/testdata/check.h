/* SPDX-License-Identifier: Apache-2.0 */
/* Checks that go on after a failure and name it; the last line says how many there were. */
#include <stdio.h>
#include <windows.h>

static int checks, failures;
static void show(const char *text) { fputs(text, stdout); fflush(stdout); }
#define CHECK(condition) do { \
    checks++; \
    if (!(condition)) { \
        char line_[400]; \
        failures++; \
        wsprintfA(line_, "%s:%d: %s (last error %d)\n", __FILE__, __LINE__, #condition, GetLastError()); \
        show(line_); \
    } \
} while (0)
#define FINISH() do { \
    char line_[64]; \
    wsprintfA(line_, "%d checks, %d failures\n", checks, failures); \
    show(line_); \
} while (0)
