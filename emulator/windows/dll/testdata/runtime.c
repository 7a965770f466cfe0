/* SPDX-License-Identifier: Apache-2.0 */
/* The C runtime of msvcrt.dll itself, called past mingw's own versions of its functions. */
#define __USE_MINGW_ANSI_STDIO 0
#include "check.h"
#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef int (*print_function)(char *, const char *, ...);
typedef int (*bounded_function)(char *, size_t, const char *, ...);
typedef int (*scan_function)(const char *, const char *, ...);
typedef double (*real_function)(double);
typedef double (*real2_function)(double, double);
static print_function print;
static char buffer[8192];

static int is(const char *expected) {
    if (strcmp(buffer, expected) == 0) return 1;
    show("got: ");
    show(buffer);
    show("\n");
    return 0;
}
#define PRINTS(expected, ...) CHECK((print(buffer, __VA_ARGS__), is(expected)))

static real_function real(const char *name) {
    return (real_function)GetProcAddress(GetModuleHandleA("msvcrt"), name);
}
static real2_function real2(const char *name) {
    return (real2_function)GetProcAddress(GetModuleHandleA("msvcrt"), name);
}

static int compare(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

static void printing(void) {
    PRINTS("42 -7 4294967289 ff FF 0xff 17", "%d %i %u %x %X %#x %o", 42, -7, -7, 255, 255, 255, 15);
    PRINTS("[   42][42   ][00042][+42][ 42]", "[%5d][%-5d][%05d][%+d][% d]", 42, 42, 42, 42, 42);
    PRINTS("[  042][]", "[%5.3d][%.0d]", 42, 0);
    PRINTS("123456789012345 -1", "%I64d %I64d", 123456789012345LL, -1LL);
    PRINTS("3.141593 3.14 3 -0.500000", "%f %.2f %.0f %f", 3.14159265, 3.14159265, 3.14159265, -0.5);
    PRINTS("1.234500e+003 1E-010", "%e %.0E", 1234.5, 1e-10);
    PRINTS("1e-005 100000 1e+006 0.0001 1.5", "%g %g %g %g %g", 1e-5, 1e5, 1e6, 1e-4, 1.5);
    PRINTS("1.#INF00 -1.#INF00", "%f %f", INFINITY, -INFINITY);
    PRINTS("abc ab    x|x    (null)", "%s %.2s %4c|%-4c %s", "abc", "abc", 'x', 'x', (char *)NULL);
    PRINTS("wide wide", "%S %ls", L"wide", L"wide");
    PRINTS("0012ABCD 100%", "%p %d%%", (void *)0x12abcd, 100);
    PRINTS("  7|7  ", "%*d|%-*d", 3, 7, 3, 7);
    PRINTS("65535 -1 255", "%hu %hd %I32u", 65535, 65535, 255);
    bounded_function bounded = (bounded_function)GetProcAddress(GetModuleHandleA("msvcrt"), "_snprintf");
    CHECK(bounded(buffer, 4, "%s", "abcdef") == -1 && memcmp(buffer, "abcd", 4) == 0);
    CHECK(bounded(buffer, 100, "%s", "abcdef") == 6);
}

static void numbers(void) {
    int a = 0, b = 0;
    float f = 0;
    double d = 0;
    char word[20];
    char *end;
    scan_function scan = (scan_function)GetProcAddress(GetModuleHandleA("msvcrt"), "sscanf");
    CHECK(scan("12 0x1f hello 2.5 7.25", "%d %x %s %f %lf", &a, &b, word, &f, &d) == 5);
    CHECK(a == 12 && b == 31 && strcmp(word, "hello") == 0 && f == 2.5f && d == 7.25);
    CHECK(scan("key=value;rest", "key=%[^;];%3s", word, buffer) == 2 && strcmp(word, "value") == 0);
    CHECK(scan("", "%d", &a) == -1 && scan("x", "%d", &a) == 0);
    CHECK(atoi("  -42abc") == -42 && strtol("0x7fz", &end, 0) == 127 && *end == 'z' && strtoul("777", NULL, 8) == 511);
    CHECK(strtol("99999999999", NULL, 10) == LONG_MAX && _atoi64("123456789012") == 123456789012LL);
    CHECK(fabs(atof("-1.5e3") + 1500) < 1e-9 && strtod("2.5x", &end) == 2.5 && *end == 'x');
    CHECK(strcmp(_itoa(-255, buffer, 16), "ffffff01") == 0 && strcmp(_itoa(-5, buffer, 10), "-5") == 0);
    int (*remainder_of)(int) = abs;
    CHECK(remainder_of(-3) == 3 && div(-7, 2).quot == -3 && div(-7, 2).rem == -1);
    double x = 2.0;
    CHECK(fabs(real("sqrt")(x) - 1.41421356) < 1e-7 && fabs(real2("pow")(x, 10) - 1024) < 1e-9);
    CHECK(real("floor")(-x - .5) == -3 && real("ceil")(x + .5) == 3 && real2("fmod")(7.5, x) == 1.5);
    CHECK(fabs(real("sin")(x) - 0.909297426) < 1e-8 && fabs(real("log")(x) - 0.693147180) < 1e-8);
    CHECK(fabs(real2("atan2")(1, x) - 0.463647609) < 1e-8 && fabs(real("exp")(x) - 7.389056099) < 1e-8);
    srand(1);
    CHECK(rand() == 41 && rand() == 18467);
    int values[] = { 9, 1, 8, 2, 7, 3 };
    qsort(values, 6, sizeof(int), compare);
    CHECK(values[0] == 1 && values[5] == 9);
    int key = 7;
    CHECK(bsearch(&key, values, 6, sizeof(int), compare) == &values[3]);
}

static void text(void) {
    char copy[32];
    wchar_t wide[32];
    strcpy(buffer, "a,b;;c");
    CHECK(strcmp(strtok(buffer, ",;"), "a") == 0 && strcmp(strtok(NULL, ",;"), "b") == 0);
    CHECK(strcmp(strtok(NULL, ",;"), "c") == 0 && strtok(NULL, ",;") == NULL);
    CHECK(_stricmp("HeLLo", "hEllO") == 0 && _strnicmp("abX", "ABy", 2) == 0 && strncmp("abc", "abd", 2) == 0);
    strcpy(buffer, "hello");
    CHECK(strchr(buffer, 'l') == buffer + 2 && strrchr(buffer, 'l') == buffer + 3 && strstr(buffer, "lo") == buffer + 3);
    CHECK(strspn("aab", "a") == 2 && strcspn("aab", "b") == 2 && strpbrk(buffer, "xyl") == buffer + 2);
    CHECK(strcmp(_strupr(strcpy(copy, "MiX")), "MIX") == 0 && strcmp(_strrev(strcpy(copy, "abc")), "cba") == 0);
    memset(copy, 'x', 8);
    strncpy(copy, "ab", 5);
    CHECK(memcmp(copy, "ab\0\0\0x", 6) == 0 && memcmp("abc", "abd", 3) < 0);
    memmove(buffer + 1, buffer, 5);
    CHECK(memcmp(buffer, "hhello", 6) == 0 && memchr(buffer, 'e', 6) == buffer + 2);
    CHECK(wcslen(L"abc") == 3 && wcscmp(wcscpy(wide, L"w"), L"w") == 0 && mbstowcs(wide, "multi", 32) == 5);
    CHECK(wcscmp(wide, L"multi") == 0 && wcstombs(copy, L"byte", 32) == 4 && strcmp(copy, "byte") == 0);
    CHECK(isalpha('x') && !isalpha('1') && isdigit('5') && isspace('\t') && toupper('q') == 'Q' && isxdigit('f'));
    char *doubled = _strdup("dup");
    CHECK(strcmp(doubled, "dup") == 0);
    free(doubled);
    char drive[4], folder[32], file[32], extension[8];
    _splitpath("C:\\dir\\name.ext", drive, folder, file, extension);
    CHECK(!strcmp(drive, "C:") && !strcmp(folder, "\\dir\\") && !strcmp(file, "name") && !strcmp(extension, ".ext"));
}

static void streams(void) {
    char line[32];
    FILE *file = fopen("runtime.txt", "w");
    CHECK(file != NULL && fputs("one\ntwo\n", file) >= 0 && fprintf(file, "%d", 3) == 1 && fclose(file) == 0);
    file = fopen("runtime.txt", "rb");
    CHECK(file && fread(buffer, 1, 64, file) == 11 && memcmp(buffer, "one\r\ntwo\r\n3", 11) == 0 && feof(file));
    fclose(file);
    file = fopen("runtime.txt", "r");
    CHECK(fgets(line, 32, file) && strcmp(line, "one\n") == 0 && fgetc(file) == 't' && ungetc('T', file) == 'T');
    CHECK(fgetc(file) == 'T' && fseek(file, 0, SEEK_END) == 0 && ftell(file) == 11 && fgetc(file) == EOF);
    rewind(file);
    CHECK(fgetc(file) == 'o' && fclose(file) == 0 && remove("runtime.txt") == 0 && fopen("runtime.txt", "r") == NULL);
    CHECK(errno == 2);
}

static void moments(void) {
    time_t when = 1290309840;
    struct tm *parts = gmtime(&when);
    CHECK(parts && parts->tm_year == 110 && parts->tm_mon == 10 && parts->tm_mday == 21 && parts->tm_wday == 0 && parts->tm_yday == 324);
    CHECK(mktime(parts) == when && strftime(buffer, 64, "%Y-%m-%d %H:%M:%S %j", parts) == 23);
    CHECK(strcmp(buffer, "2010-11-21 03:24:00 325") == 0 && strcmp(asctime(parts), "Sun Nov 21 03:24:00 2010\n") == 0);
    CHECK(time(NULL) > 1290309840);
}

static int jumps(void) {
    jmp_buf state;
    volatile int seen = 0;
    int came = setjmp(state);
    seen++;
    if (came < 3) longjmp(state, came + 1);
    return seen * 10 + came;
}

int main(int argc, char **argv) {
    print = (print_function)GetProcAddress(GetModuleHandleA("msvcrt"), "sprintf");
    CHECK(argc == 3 && strcmp(argv[1], "two words") == 0 && strcmp(argv[2], "a\"b") == 0);
    printing();
    numbers();
    text();
    streams();
    moments();
    CHECK(jumps() == 43);
    CHECK(getenv("SystemRoot") && _stricmp(getenv("SystemRoot"), "C:\\Windows") == 0);
    char *block = calloc(10, 10);
    CHECK(block && block[99] == 0 && (block = realloc(block, 1000)) != NULL && _msize(block) >= 1000);
    free(block);
    FINISH();
    return failures;
}
