/* SPDX-License-Identifier: Apache-2.0 */
/* Clocks that programs compare to find that they are watched: all of them must go together. */
#include "check.h"
#include <mmsystem.h>

static unsigned long long stamp(void) {
    unsigned low, high;
    asm volatile("rdtsc" : "=a"(low), "=d"(high));
    return (unsigned long long)high << 32 | low;
}
static unsigned long long file_time(void) {
    FILETIME time;
    GetSystemTimeAsFileTime(&time);
    return (unsigned long long)time.dwHighDateTime << 32 | time.dwLowDateTime;
}
/* KUSER_SHARED_DATA.TickCount, as GetTickCount computes it. */
static DWORD shared_ticks(void) {
    return (DWORD)((unsigned long long)*(volatile DWORD *)0x7ffe0320 * *(volatile DWORD *)0x7ffe0004 >> 24);
}
static int near_to(long long value, long long wanted, long long off) { return value >= wanted - off && value <= wanted + off; }

static void short_spans(void) {
    unsigned long long least = ~0ull, most = 0;
    for (int i = 0; i < 200; i++) {
        unsigned long long before = stamp(), span = stamp() - before;
        if (span < least) least = span;
        if (span > most) most = span;
    }
    CHECK(least > 0 && most < 1000);
    unsigned long long before = stamp();
    for (int i = 0; i < 100; i++) asm volatile("cpuid" : : "a"(1) : "ebx", "ecx", "edx");
    CHECK(stamp() - before < 100 * 1000);
    before = stamp();
    for (int i = 0; i < 100; i++) GetProcessHeap();
    CHECK(stamp() - before < 100 * 2000);
    before = stamp();
    DWORD ticks = GetTickCount();
    for (int i = 0; i < 50; i++) CloseHandle((HANDLE)0x1230);
    CHECK(GetTickCount() - ticks < 100);
}

static void long_spans(void) {
    LARGE_INTEGER frequency, first, last;
    CHECK(QueryPerformanceFrequency(&frequency) && frequency.QuadPart > 100000 && QueryPerformanceCounter(&first));
    DWORD ticks = GetTickCount(), shared = shared_ticks(), multimedia = timeGetTime();
    unsigned long long tsc = stamp(), time = file_time();
    Sleep(2000);
    QueryPerformanceCounter(&last);
    long long span = (long long)(GetTickCount() - ticks);
    CHECK(near_to(span, 2000, 40) && near_to(shared_ticks() - shared, span, 40) && near_to(timeGetTime() - multimedia, span, 40));
    CHECK(near_to((file_time() - time) / 10000, span, 40) && near_to((last.QuadPart - first.QuadPart) * 1000 / frequency.QuadPart, span, 40));
    CHECK((stamp() - tsc) / 2000 > 500000);
    /* Without a sleep time goes on too. */
    ticks = GetTickCount();
    int turns = 0;
    while (GetTickCount() == ticks && turns < 5000000) turns++;
    CHECK(GetTickCount() != ticks && GetTickCount() - ticks < 200);
    CHECK(near_to(shared_ticks(), GetTickCount(), 40) && GetTickCount() > 12 * 60 * 1000 && GetTickCount64() / 1000 == GetTickCount() / 1000);
    SYSTEMTIME now;
    GetSystemTime(&now);
    CHECK(now.wYear >= 2011 && now.wYear < 2040);
    HANDLE event = CreateEventA(NULL, TRUE, FALSE, NULL);
    ticks = GetTickCount();
    CHECK(WaitForSingleObject(event, 700) == WAIT_TIMEOUT && near_to(GetTickCount() - ticks, 700, 40));
}

int main(void) {
    short_spans();
    long_spans();
    FINISH();
    return failures;
}
