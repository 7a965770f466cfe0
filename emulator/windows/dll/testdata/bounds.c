/* SPDX-License-Identifier: Apache-2.0 */
/* Takes as much as there is of everything: it must be refused at some point, and all go on when it is given back. */
#define _WIN32_WINNT 0x0601
#include "check.h"
#include <stdlib.h>
#include <string.h>
#include <tlhelp32.h>

static HANDLE held[20000];
static DWORD WINAPI wait_long(void *unused) { return SleepEx(INFINITE, TRUE); }
static void CALLBACK nothing(ULONG_PTR unused) {}

static void handles(void) {
    int count = 0;
    while (count < 20000 && (held[count] = CreateEventA(NULL, FALSE, FALSE, NULL)) != NULL) count++;
    CHECK(count > 10000 && count < 20000 && GetLastError() == ERROR_NOT_ENOUGH_MEMORY);
    while (count > 0) CloseHandle(held[--count]);
    CHECK((held[0] = CreateEventA(NULL, FALSE, FALSE, NULL)) != NULL);
    for (char name[32]; count < 20000; count++) {
        wsprintfA(name, "name-%d", count);
        if (!(held[count] = CreateMutexA(NULL, FALSE, name))) break;
    }
    CHECK(count > 1000 && count < 20000);
    while (count > 0) CloseHandle(held[--count]);
    CHECK(CreateMutexA(NULL, FALSE, "name-again") != NULL);
}

static void threads(void) {
    int count = 0, queued = 0;
    while (count < 5000 && (held[count] = CreateThread(NULL, 0, wait_long, NULL, CREATE_SUSPENDED, NULL)) != NULL) count++;
    CHECK(count > 50 && count < 5000);
    while (queued < 100000 && QueueUserAPC(nothing, held[0], 0)) queued++;
    CHECK(queued > 100 && queued < 100000);
    for (int i = 0; i < 200; i++) SuspendThread(held[0]);
    CHECK(ResumeThread(held[0]) <= 127);
    for (int i = 0; i < count; i++) TerminateThread(held[i], 0), CloseHandle(held[i]);
    HANDLE thread = CreateThread(NULL, 0, wait_long, NULL, 0, NULL);
    Sleep(10);
    CHECK(thread && QueueUserAPC(nothing, thread, 0) && WaitForSingleObject(thread, 10000) == 0);
    CloseHandle(thread);
}

static void processes(void) {
    STARTUPINFOA startup = { sizeof startup };
    PROCESS_INFORMATION info[200];
    int count = 0, fine = 0;
    for (; count < 200; count++) {
        char line[] = "svchost.exe";
        if (!CreateProcessA(NULL, line, NULL, NULL, FALSE, CREATE_SUSPENDED, NULL, NULL, &startup, &info[count])) break;
    }
    CHECK(count >= 5 && count < 200 && GetLastError() == ERROR_NOT_ENOUGH_MEMORY);
    for (int i = 0; i < count; i++) {
        fine += TerminateProcess(info[i].hProcess, 0);
        CloseHandle(info[i].hProcess);
        CloseHandle(info[i].hThread);
    }
    CHECK(fine == count);
    /* One after the other: numbers run out at some point, nothing else does. */
    for (count = 0; count < 100; count++) {
        char line[] = "cmd.exe";
        if (!CreateProcessA(NULL, line, NULL, NULL, FALSE, 0, NULL, NULL, &startup, &info[0])) break;
        WaitForSingleObject(info[0].hProcess, INFINITE);
        CloseHandle(info[0].hProcess);
        CloseHandle(info[0].hThread);
    }
    CHECK(count == 100);
}

static void memory(void) {
    int count = 0;
    while (count < 20000 && (held[count] = VirtualAlloc(NULL, 0x100000, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE)) != NULL) count++;
    CHECK(count >= 2 && count < 20000 && GetLastError() == ERROR_COMMITMENT_LIMIT);
    while (count > 0) VirtualFree(held[--count], 0, MEM_RELEASE);
    while (count < 20000 && (held[count] = VirtualAlloc(NULL, 0x10000, MEM_RESERVE, PAGE_READWRITE)) != NULL) count++;
    CHECK(count > 1000);
    while (count > 0) VirtualFree(held[--count], 0, MEM_RELEASE);
    while (count < 20000 && (held[count] = HeapCreate(0, 0, 0)) != NULL) count++;
    CHECK(count > 10 && count < 20000);
    while (count > 0) HeapDestroy(held[--count]);
    void *block = VirtualAlloc(NULL, 0x100000, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE);
    CHECK(block && memset(block, 1, 0x100000) == block && VirtualFree(block, 0, MEM_RELEASE));
    while (count < 20000 && (held[count] = malloc(0x10000)) != NULL) count++;
    CHECK(count > 10 && count < 20000);
    while (count > 0) free(held[--count]);
    CHECK((block = malloc(0x10000)) != NULL && memset(block, 1, 0x10000) == block);
    CHECK(VirtualAlloc(NULL, 0x7fff0000, MEM_RESERVE, PAGE_READWRITE) == NULL && VirtualAlloc(NULL, 0xffffffff, MEM_COMMIT, PAGE_READWRITE) == NULL);
    CHECK(CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 1, 0, NULL) == NULL && CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, 0xfffffff0, NULL) == NULL);
}

static void files(void) {
    char name[64];
    int count = 0;
    DWORD done = 0;
    HANDLE file;
    for (; count < 20000; count++) {
        wsprintfA(name, "C:\\many\\%d", count);
        if (count == 0) CreateDirectoryA("C:\\many", NULL);
        if ((file = CreateFileA(name, GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL)) == INVALID_HANDLE_VALUE) break;
        BOOL written = WriteFile(file, "x", 1, &done, NULL);
        CloseHandle(file);
        if (!written || GetFileAttributesA(name) == INVALID_FILE_ATTRIBUTES) break;
    }
    CHECK(count > 1000 && count < 20000);
    while (count > 0) wsprintfA(name, "C:\\many\\%d", --count), DeleteFileA(name);
    file = CreateFileA("C:\\big", GENERIC_READ | GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);
    CHECK(SetFilePointer(file, 0x7ffffff0, NULL, FILE_BEGIN) == 0x7ffffff0 && !SetEndOfFile(file) && !WriteFile(file, "x", 1, &done, NULL));
    CHECK(CloseHandle(file) && DeleteFileA("C:\\big"));
}

static void registry(void) {
    HKEY key, made;
    char name[32];
    int count = 0;
    RegCreateKeyExA(HKEY_CURRENT_USER, "Software\\Many", 0, NULL, 0, KEY_ALL_ACCESS, NULL, &key, NULL);
    for (; count < 100000; count++) {
        wsprintfA(name, "%d", count);
        if (RegCreateKeyExA(key, name, 0, NULL, 0, KEY_ALL_ACCESS, NULL, &made, NULL)) break;
        RegCloseKey(made);
    }
    CHECK(count > 100 && count < 100000);
}

int main(void) {
    handles();
    threads();
    processes();
    memory();
    files();
    registry();
    FINISH();
    return failures;
}
