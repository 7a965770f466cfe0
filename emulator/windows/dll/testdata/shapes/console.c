/* SPDX-License-Identifier: Apache-2.0 */
/* A console program in C: arguments, standard streams, files of the C runtime, memory, time, signals, atexit. */
#include <conio.h>
#include <ctype.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <windows.h>

static jmp_buf place;
static int order(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }
static void last(void) { printf("at exit\n"); }
static void on_signal(int number) { printf("signal %d\n", number); longjmp(place, 1); }

int main(int count, char **words) {
    int numbers[] = { 9, 4, 7, 1 }, sum = 0, more = 0;
    char line[64], text[64];
    atexit(last);
    printf("arguments %d %s\n", count, words[1]);
    qsort(numbers, 4, sizeof *numbers, order);
    for (int i = 0; i < 4; i++) sum = sum * 10 + numbers[i];
    printf("sorted %d %.3f %s\n", sum, sqrt(2.0), "text");
    FILE *file = fopen("data.bin", "wb+");
    fprintf(file, "%d %s\n", 12, "twelve");
    rewind(file);
    fscanf(file, "%d %15s", &more, text);
    printf("file %d %s %ld\n", more, text, ftell(file));
    fclose(file);
    if (setjmp(place) == 0) {
        signal(SIGINT, on_signal);
        raise(SIGINT);
    }
    char *grown = realloc(strdup("abc"), 1000);
    printf("memory %s %d\n", grown, (int)_msize(grown) >= 1000);
    time_t now = time(NULL);
    strftime(line, sizeof line, "%Y", gmtime(&now));
    printf("year %d\n", atoi(line) > 2000);
    printf("number %ld %g %d\n", strtol("0x7f", NULL, 0), strtod("1.5e3", NULL), toupper('q'));
    printf("input %d\n", fgets(line, sizeof line, stdin) == NULL);
    SetConsoleTitleA("shape");
    SetConsoleTextAttribute(GetStdHandle(STD_OUTPUT_HANDLE), 7);
    printf("environment %s\n", getenv("windir"));
    exit(0);
}
