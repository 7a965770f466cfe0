// SPDX-License-Identifier: Apache-2.0
// An ordinary program to be packed: sorts and counts the words of a text and prints what it found.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char text[] =
    "the quick brown fox jumps over the lazy dog while the other fox sleeps and the dog dreams of the fox";

static int compare(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

int main(void)
{
    char *copy = malloc(sizeof text);
    const char *words[64];
    size_t count = 0;
    if (copy == NULL)
        return 1;
    memcpy(copy, text, sizeof text);
    for (char *word = strtok(copy, " "); word != NULL && count < 64; word = strtok(NULL, " "))
        words[count++] = word;
    qsort(words, count, sizeof words[0], compare);
    for (size_t first = 0; first < count;) {
        size_t next = first;
        while (next < count && strcmp(words[first], words[next]) == 0)
            next++;
        printf("%s %u\n", words[first], (unsigned)(next - first));
        first = next;
    }
    free(copy);
    return 0;
}
