// SPDX-License-Identifier: Apache-2.0
// A program with thread-local storage to be packed: variables of each thread's own, reached as a compiler reaches
// __declspec(thread) variables, and callbacks that run before the entry point and with each thread.
#include <stdio.h>
#include <windows.h>

extern ULONG _tls_index;
extern char _tls_start;

static volatile LONG attached, detached;
static LONG seen_in_callback;

static __attribute__((section(".tls$Ma"))) LONG counter = 40;
static __attribute__((section(".tls$Mb"))) char label[16] = "fresh";

/** The calling thread's copy of a variable in the .tls section. */
static void *own(const void *variable)
{
    char **blocks;
    __asm__("movl %%fs:0x2c, %0" : "=r"(blocks));
    return blocks[_tls_index] + ((const char *)variable - &_tls_start);
}

static void NTAPI callback(PVOID module, DWORD reason, PVOID reserved)
{
    (void)module;
    (void)reserved;
    if (reason == DLL_PROCESS_ATTACH)
        seen_in_callback = ++*(LONG *)own(&counter);
    if (reason == DLL_THREAD_ATTACH)
        InterlockedIncrement(&attached);
    if (reason == DLL_THREAD_DETACH)
        InterlockedIncrement(&detached);
}

__attribute__((section(".CRT$XLB"), used)) static PIMAGE_TLS_CALLBACK registered = callback;

static DWORD WINAPI work(LPVOID argument)
{
    LONG *mine = own(&counter);
    char *name = own(label);
    for (int index = 0; index < 3; index++)
        *mine += (LONG)(INT_PTR)argument;
    printf("thread %d: %s %ld\n", (int)(INT_PTR)argument, name, *mine);
    name[0] = 'F';
    return (DWORD)*mine;
}

int main(void)
{
    DWORD codes[3] = {0};
    printf("callback saw %ld\n", seen_in_callback);
    for (int index = 0; index < 3; index++) {
        HANDLE thread = CreateThread(NULL, 0, work, (LPVOID)(INT_PTR)(index + 1), 0, NULL);
        if (!thread)
            return 1;
        WaitForSingleObject(thread, INFINITE);
        GetExitCodeThread(thread, &codes[index]);
        CloseHandle(thread);
    }
    printf("main: %s %ld; threads %lu %lu %lu; attached %ld, detached %ld\n", (char *)own(label), *(LONG *)own(&counter),
           codes[0], codes[1], codes[2], attached, detached);
    return 0;
}
