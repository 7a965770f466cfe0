/* SPDX-License-Identifier: Apache-2.0 */
/* Virtual memory, sections and heaps as Windows 7 SP1 x86 keeps them. */
#define _WIN32_WINNT 0x0601
#include "check.h"
#include <string.h>
#include <winternl.h>

#define FAILS(call, error) do { \
    SetLastError(0); \
    CHECK(!(call) && GetLastError() == (error)); \
} while (0)

NTSTATUS NTAPI NtCreateSection(HANDLE *, ULONG, OBJECT_ATTRIBUTES *, LARGE_INTEGER *, ULONG, ULONG, HANDLE);
NTSTATUS NTAPI NtMapViewOfSection(HANDLE, HANDLE, void **, ULONG_PTR, SIZE_T, LARGE_INTEGER *, SIZE_T *, ULONG, ULONG, ULONG);
NTSTATUS NTAPI NtUnmapViewOfSection(HANDLE, void *);
NTSTATUS NTAPI NtAllocateVirtualMemory(HANDLE, void **, ULONG_PTR, SIZE_T *, ULONG, ULONG);
NTSTATUS NTAPI NtFreeVirtualMemory(HANDLE, void **, SIZE_T *, ULONG);
NTSTATUS NTAPI NtProtectVirtualMemory(HANDLE, void **, SIZE_T *, ULONG, ULONG *);
NTSTATUS NTAPI NtQueryVirtualMemory(HANDLE, void *, ULONG, void *, SIZE_T, SIZE_T *);

static DWORD seen, seenKind;
static void *seenAt;
static DWORD escape, escapeStack;

/* Any exception ends the probe below and is remembered. */
static LONG CALLBACK watch(EXCEPTION_POINTERS *pointers) {
    if (escape == 0) return EXCEPTION_CONTINUE_SEARCH;
    seen = pointers->ExceptionRecord->ExceptionCode;
    seenKind = pointers->ExceptionRecord->ExceptionInformation[0];
    seenAt = (void *)pointers->ExceptionRecord->ExceptionInformation[1];
    pointers->ContextRecord->Eip = escape;
    pointers->ContextRecord->Esp = escapeStack;
    return EXCEPTION_CONTINUE_EXECUTION;
}

/* Exception code of an access (0: none): 0 read, 1 write, 8 execute (a RET must stand there). */
static DWORD __attribute__((noinline)) touch(void *at, int kind) {
    seen = 0;
    asm volatile(
        "pushl %%ebp\n pushl %%ebx\n movl %%esp, %1\n movl $1f, %0\n"
        "cmpl $1, %3\n je 2f\n cmpl $8, %3\n je 3f\n"
        "movb (%2), %%al\n jmp 1f\n"
        "2: movb $0xc3, (%2)\n jmp 1f\n"
        "3: call *%2\n"
        "1: popl %%ebx\n popl %%ebp\n"
        : "=m"(escape), "=m"(escapeStack) : "S"(at), "D"(kind) : "eax", "ecx", "edx", "memory");
    escape = 0;
    return seen;
}

static MEMORY_BASIC_INFORMATION query(void *at) {
    MEMORY_BASIC_INFORMATION info;
    memset(&info, 0xcc, sizeof info);
    CHECK(VirtualQuery(at, &info, sizeof info) == sizeof info);
    return info;
}

static void reserving(void) {
    DWORD old;
    MEMORY_BASIC_INFORMATION info;
    char *base = VirtualAlloc(NULL, 0x20000, MEM_RESERVE, PAGE_READWRITE);
    CHECK(base && ((DWORD)base & 0xffff) == 0);
    info = query(base + 0x5000);
    CHECK(info.State == MEM_RESERVE && info.Protect == 0 && info.AllocationProtect == PAGE_READWRITE);
    CHECK(info.BaseAddress == base + 0x5000 && info.RegionSize == 0x1b000 && info.AllocationBase == base);
    CHECK(touch(base, 0) == 0xc0000005 && seenKind == 0 && seenAt == base);
    FAILS(VirtualProtect(base, 0x1000, PAGE_READONLY, &old), ERROR_INVALID_ADDRESS);
    /* Both pages a range touches are committed. */
    CHECK(VirtualAlloc(base + 0x1ffe, 4, MEM_COMMIT, PAGE_READONLY) == base + 0x1000);
    info = query(base + 0x1000);
    CHECK(info.State == MEM_COMMIT && info.RegionSize == 0x2000 && info.Protect == PAGE_READONLY);
    CHECK(touch(base + 0x2fff, 0) == 0 && touch(base + 0x3000, 0) == 0xc0000005);
    CHECK(touch(base + 0x1000, 1) == 0xc0000005 && seenKind == 1 && seenAt == base + 0x1000);
    /* Committing again changes the protection and keeps the content. */
    CHECK(VirtualAlloc(base + 0x1000, 0x1000, MEM_COMMIT, PAGE_READWRITE) == base + 0x1000);
    base[0x1000] = 77;
    CHECK(VirtualAlloc(base, 0x4000, MEM_COMMIT, PAGE_READWRITE) == base && base[0x1000] == 77 && base[0x3fff] == 0);
    /* Decommit: whole pages, content gone. */
    FAILS(VirtualFree(base + 0x1000, 0, MEM_DECOMMIT), ERROR_INVALID_ADDRESS);
    CHECK(VirtualFree(base + 0x1800, 0x10, MEM_DECOMMIT) && query(base + 0x1000).State == MEM_RESERVE);
    CHECK(touch(base + 0x1000, 0) == 0xc0000005);
    CHECK(VirtualAlloc(base + 0x1000, 1, MEM_COMMIT, PAGE_READWRITE) && base[0x1000] == 0);
    CHECK(VirtualFree(base, 0, MEM_DECOMMIT) && query(base).RegionSize == 0x20000);
    CHECK(VirtualFree(base, 0x1000, MEM_DECOMMIT));
    /* Ends and mistakes. */
    FAILS(VirtualAlloc(base + 0x1f000, 0x2000, MEM_COMMIT, PAGE_READWRITE), ERROR_INVALID_ADDRESS);
    FAILS(VirtualAlloc(base, 0x1000, MEM_RESERVE, PAGE_READWRITE), ERROR_INVALID_ADDRESS);
    FAILS(VirtualAlloc(NULL, 0, MEM_COMMIT, PAGE_READWRITE), ERROR_INVALID_PARAMETER);
    FAILS(VirtualAlloc(NULL, 1, 0, PAGE_READWRITE), ERROR_INVALID_PARAMETER);
    FAILS(VirtualAlloc(NULL, 1, MEM_COMMIT | MEM_RESET, PAGE_READWRITE), ERROR_INVALID_PARAMETER);
    FAILS(VirtualAlloc(NULL, 1, MEM_COMMIT, 0), ERROR_INVALID_PARAMETER);
    FAILS(VirtualAlloc(NULL, 1, MEM_COMMIT, PAGE_READONLY | PAGE_READWRITE), ERROR_INVALID_PARAMETER);
    FAILS(VirtualAlloc(NULL, 1, MEM_COMMIT, PAGE_WRITECOPY), ERROR_INVALID_PARAMETER);
    FAILS(VirtualAlloc(NULL, 1, MEM_COMMIT, PAGE_GUARD | PAGE_NOACCESS), ERROR_INVALID_PARAMETER);
    FAILS(VirtualAlloc((void *)0x1000, 1, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE), ERROR_INVALID_PARAMETER);
    FAILS(VirtualAlloc((void *)0x80000000, 1, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE), ERROR_INVALID_PARAMETER);
    FAILS(VirtualAlloc(NULL, 0x7fffffff, MEM_RESERVE, PAGE_READWRITE), ERROR_INVALID_PARAMETER);
    FAILS(VirtualAlloc(NULL, 0x7f000000, MEM_RESERVE, PAGE_READWRITE), ERROR_NOT_ENOUGH_MEMORY);
    FAILS(VirtualFree(base, 0, MEM_RELEASE | MEM_DECOMMIT), ERROR_INVALID_PARAMETER);
    FAILS(VirtualFree(base, 0x1000, MEM_RELEASE), ERROR_INVALID_PARAMETER);
    FAILS(VirtualFree(base + 0x1000, 0, MEM_RELEASE), ERROR_INVALID_ADDRESS);
    FAILS(VirtualFree(base + 0x1f000, 0x2000, MEM_DECOMMIT), ERROR_INVALID_PARAMETER);
    CHECK(VirtualFree(base, 0, MEM_RELEASE));
    FAILS(VirtualFree(base, 0, MEM_RELEASE), ERROR_INVALID_ADDRESS);
    info = query(base);
    CHECK(info.State == MEM_FREE && info.Protect == PAGE_NOACCESS && info.AllocationBase == NULL && info.Type == 0);
    /* A wanted address is rounded down to 64 KiB, the end up to a page. */
    char *rounded = VirtualAlloc(base + 0x5123, 0x1000, MEM_RESERVE, PAGE_READWRITE);
    CHECK(rounded == base && query(base).RegionSize == 0x7000);
    CHECK(VirtualAlloc(base + 0x8000, 0x1000, MEM_RESERVE, PAGE_READWRITE) == NULL);
    CHECK(VirtualFree(base, 0, MEM_RELEASE));
    char *top = VirtualAlloc(NULL, 0x10000, MEM_RESERVE | MEM_TOP_DOWN, PAGE_READWRITE);
    CHECK(top > (char *)0x7f000000 && top < (char *)0x7ffe0000);
    CHECK(VirtualFree(top, 0, MEM_RELEASE));
    /* MEM_RESET: says the content is not needed; only of what is there. */
    base = VirtualAlloc(NULL, 0x2000, MEM_COMMIT, PAGE_READWRITE);
    CHECK(VirtualAlloc(base + 5, 1, MEM_RESET, PAGE_READWRITE) != NULL && touch(base, 0) == 0);
    FAILS(VirtualAlloc((void *)0x50000000, 1, MEM_RESET, PAGE_NOACCESS), ERROR_INVALID_ADDRESS);
    CHECK(VirtualFree(base, 0, MEM_RELEASE));
    SetLastError(0);
    CHECK(VirtualQuery((void *)0x7fff0000, &info, sizeof info) == 0 && GetLastError() == ERROR_INVALID_PARAMETER);
    CHECK(VirtualQuery(base, &info, 8) == 0 && GetLastError() == ERROR_BAD_LENGTH);
    info = query((void *)0x1234);
    CHECK(info.State == MEM_FREE && info.BaseAddress == (void *)0x1000 && info.RegionSize == 0xf000);
}

static void protecting(void) {
    DWORD old = 1;
    char *base = VirtualAlloc(NULL, 0x4000, MEM_COMMIT, PAGE_READWRITE);
    char *other = VirtualAlloc(NULL, 0x1000, MEM_COMMIT, PAGE_READWRITE);
    CHECK(VirtualProtect(base + 0xfff, 2, PAGE_READONLY, &old) && old == PAGE_READWRITE);
    CHECK(query(base).RegionSize == 0x2000 && touch(base + 0x1fff, 1) == 0xc0000005 && touch(base + 0x2000, 1) == 0);
    CHECK(VirtualProtect(base + 0x1000, 0x2000, PAGE_NOACCESS, &old) && old == PAGE_READONLY);
    CHECK(touch(base + 0x1000, 0) == 0xc0000005 && touch(base + 0x3000, 0) == 0);
    CHECK(VirtualProtect(base, 0x4000, PAGE_EXECUTE_READWRITE, &old) && old == PAGE_READONLY);
    CHECK(touch(base, 1) == 0 && touch(base, 8) == 0);
    FAILS(VirtualProtect(base, 0, PAGE_READONLY, &old), ERROR_INVALID_PARAMETER);
    FAILS(VirtualProtect(base, 1, 0x99, &old), ERROR_INVALID_PARAMETER);
    FAILS(VirtualProtect(base, 1, PAGE_WRITECOPY, &old), ERROR_INVALID_PARAMETER);
    FAILS(VirtualProtect(base, 0x5000, PAGE_READONLY, &old), ERROR_INVALID_ADDRESS);
    FAILS(VirtualProtect(base, 1, PAGE_READONLY, NULL), ERROR_NOACCESS);
    CHECK(query(base).Protect == PAGE_EXECUTE_READWRITE);
    /* Guard pages: once, by whatever kind of access, and the protection below them counts afterwards. */
    CHECK(VirtualProtect(base, 0x4000, PAGE_READWRITE | PAGE_GUARD, &old));
    CHECK(query(base).Protect == (PAGE_READWRITE | PAGE_GUARD));
    CHECK(touch(base + 5, 0) == 0x80000001 && seenKind == 0 && seenAt == base + 5 && touch(base + 5, 0) == 0);
    CHECK(touch(base + 0x1007, 1) == 0x80000001 && seenKind == 1 && touch(base + 0x1007, 1) == 0);
    CHECK(query(base).RegionSize == 0x2000 && query(base).Protect == PAGE_READWRITE);
    CHECK(VirtualProtect(base + 0x2000, 0x1000, PAGE_READONLY | PAGE_GUARD, &old) && old == (PAGE_READWRITE | PAGE_GUARD));
    CHECK(touch(base + 0x2000, 1) == 0x80000001 && touch(base + 0x2000, 1) == 0xc0000005);
    CHECK(VirtualProtect(base + 0x3000, 0x1000, PAGE_EXECUTE_READWRITE, &old) && touch(base + 0x3000, 1) == 0);
    CHECK(VirtualProtect(base + 0x3000, 0x1000, PAGE_EXECUTE_READ | PAGE_GUARD, &old));
    CHECK(touch(base + 0x3000, 8) == 0x80000001 && touch(base + 0x3000, 8) == 0);
    /* A page of guard that an API function touches. */
    CHECK(VirtualProtect(base, 0x1000, PAGE_READWRITE | PAGE_GUARD, &old));
    SIZE_T done = 9;
    FAILS(ReadProcessMemory(GetCurrentProcess(), base, &old, 4, &done), ERROR_PARTIAL_COPY);
    CHECK(VirtualFree(base, 0, MEM_RELEASE) && VirtualFree(other, 0, MEM_RELEASE));
    /* The program's own image: copy-on-write. */
    static char data[0x3000] = { 1 };
    char *page = (char *)(((DWORD)data + 0xfff) & ~0xfff);
    MEMORY_BASIC_INFORMATION info = query(page);
    CHECK(info.Type == MEM_IMAGE && info.AllocationProtect == PAGE_EXECUTE_WRITECOPY);
    CHECK(info.AllocationBase == GetModuleHandleA(NULL));
    CHECK(info.Protect == PAGE_WRITECOPY || info.Protect == PAGE_READWRITE);
    page[0] = 3;
    CHECK(query(page).Protect == PAGE_READWRITE);
    char *code = (char *)GetModuleHandleA(NULL) + 0x1000;
    CHECK(query(code).Protect == PAGE_EXECUTE_READ && touch(code, 1) == 0xc0000005);
    CHECK(VirtualProtect(code, 1, PAGE_EXECUTE_READWRITE, &old) && old == PAGE_EXECUTE_READ);
    CHECK(query(code).Protect == PAGE_EXECUTE_WRITECOPY);
    *(volatile char *)code = *(volatile char *)code;
    CHECK(query(code).Protect == PAGE_EXECUTE_READWRITE);
    CHECK(VirtualProtect(code, 1, PAGE_EXECUTE_READ, &old) && old == PAGE_EXECUTE_READWRITE);
    CHECK(query(GetModuleHandleA(NULL)).Protect == PAGE_READONLY);
    CHECK(query(GetModuleHandleA("kernel32")).Type == MEM_IMAGE);
}

static void natives(void) {
    void *base = NULL;
    SIZE_T size = 0x1001;
    ULONG old = 0;
    HANDLE self = GetCurrentProcess();
    CHECK(NtAllocateVirtualMemory(self, &base, 0, &size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE) == 0 && size == 0x2000);
    void *at = (char *)base + 0x10;
    size = 0x1000;
    CHECK(NtProtectVirtualMemory(self, &at, &size, PAGE_READONLY, &old) == 0 && at == base && size == 0x2000);
    CHECK(old == PAGE_READWRITE);
    MEMORY_BASIC_INFORMATION info;
    SIZE_T length = 0;
    CHECK(NtQueryVirtualMemory(self, base, 0, &info, sizeof info, &length) == 0 && length == sizeof info);
    CHECK(NtQueryVirtualMemory(self, (void *)0x80000000, 0, &info, sizeof info, &length) == (NTSTATUS)0xc000000d);
    CHECK(NtQueryVirtualMemory(self, base, 0, &info, 4, &length) == (NTSTATUS)0xc0000004);
    /* Native releases may take a part and leave the rest. */
    at = (char *)base + 0x1000;
    size = 0x1000;
    CHECK(NtFreeVirtualMemory(self, &at, &size, MEM_RELEASE) == 0 && size == 0x1000);
    CHECK(query(base).RegionSize == 0x1000 && query(at).State == MEM_FREE);
    at = base;
    size = 0;
    CHECK(NtFreeVirtualMemory(self, &at, &size, MEM_RELEASE) == 0 && size == 0x1000);
    CHECK(NtFreeVirtualMemory(self, &at, &size, MEM_RELEASE) == (NTSTATUS)0xc00000a0);
    CHECK(NtAllocateVirtualMemory((HANDLE)0x7777, &base, 0, &size, MEM_RESERVE, PAGE_READWRITE) == (NTSTATUS)0xc0000008);
    size = 0;
    base = NULL;
    CHECK(NtAllocateVirtualMemory(self, &base, 0, &size, MEM_COMMIT, PAGE_READWRITE) == (NTSTATUS)0xc00000f2);
    size = 1;
    CHECK(NtAllocateVirtualMemory(self, &base, 0, &size, 0x10, PAGE_READWRITE) == (NTSTATUS)0xc00000f3);
    CHECK(NtAllocateVirtualMemory(self, &base, 0, &size, MEM_COMMIT, 0x3) == (NTSTATUS)0xc0000045);
    CHECK(NtAllocateVirtualMemory(self, &base, 22, &size, MEM_COMMIT, PAGE_READWRITE) == (NTSTATUS)0xc00000f1);
    base = NULL;
    /* ZeroBits: that many bits at the top are zero. */
    CHECK(NtAllocateVirtualMemory(self, &base, 6, &size, MEM_COMMIT | MEM_TOP_DOWN, PAGE_READWRITE) == 0);
    CHECK((DWORD)base < 0x04000000);
    size = 0;
    CHECK(NtFreeVirtualMemory(self, &base, &size, MEM_RELEASE) == 0);
}

static void sections(void) {
    DWORD old;
    HANDLE none = INVALID_HANDLE_VALUE;
    FAILS(CreateFileMappingA(none, NULL, PAGE_READWRITE, 0, 0, NULL), ERROR_INVALID_PARAMETER);
    FAILS(CreateFileMappingA(none, NULL, 0x33, 0, 0x1000, NULL), ERROR_INVALID_PARAMETER);
    HANDLE map = CreateFileMappingA(none, NULL, PAGE_EXECUTE_READWRITE, 0, 0x23000, NULL);
    char *write = MapViewOfFile(map, FILE_MAP_WRITE, 0, 0, 0);
    char *read = MapViewOfFile(map, FILE_MAP_READ, 0, 0x10000, 0x1001);
    char *run = MapViewOfFile(map, FILE_MAP_READ | FILE_MAP_EXECUTE, 0, 0, 0x1000);
    char *copy = MapViewOfFile(map, FILE_MAP_COPY, 0, 0, 0x2000);
    CHECK(write && read && run && copy);
    MEMORY_BASIC_INFORMATION info = query(write);
    CHECK(info.Type == MEM_MAPPED && info.Protect == PAGE_READWRITE && info.RegionSize == 0x23000);
    CHECK(query(read).Protect == PAGE_READONLY && query(read).RegionSize == 0x2000);
    CHECK(query(run).Protect == PAGE_EXECUTE_READ && query(copy).Protect == PAGE_WRITECOPY);
    write[0x10005] = 42;
    write[0] = (char)0xc3;
    write[1] = 17;
    CHECK(read[5] == 42 && run[1] == 17 && copy[1] == 17);
    CHECK(touch(read, 1) == 0xc0000005 && touch(run, 8) == 0);
    /* A private copy, of the page that is written and no other. */
    copy[1] = 18;
    write[1] = 19;
    write[0x1000] = 20;
    CHECK(copy[1] == 18 && run[1] == 19 && copy[0x1000] == 20);
    CHECK(query(copy).Protect == PAGE_READWRITE && query(copy + 0x1000).Protect == PAGE_WRITECOPY);
    /* A view's protection can be changed within what it was mapped with. */
    CHECK(VirtualProtect(write, 0x1000, PAGE_READONLY, &old) && old == PAGE_READWRITE);
    CHECK(touch(write, 1) == 0xc0000005 && VirtualProtect(write, 0x1000, PAGE_READWRITE, &old));
    FAILS(VirtualProtect(read, 0x1000, PAGE_READWRITE, &old), ERROR_INVALID_PARAMETER);
    FAILS(VirtualProtect(write, 0x1000, PAGE_EXECUTE_READ, &old), ERROR_INVALID_PARAMETER);
    FAILS(VirtualFree(write, 0, MEM_RELEASE), ERROR_INVALID_PARAMETER);
    FAILS(MapViewOfFile(map, FILE_MAP_READ, 0, 0x1000, 0x1000), ERROR_MAPPED_ALIGNMENT);
    FAILS(MapViewOfFile(map, FILE_MAP_READ, 0, 0x20000, 0x10000), ERROR_ACCESS_DENIED);
    FAILS(MapViewOfFileEx(map, FILE_MAP_READ, 0, 0, 0x1000, write), ERROR_INVALID_ADDRESS);
    FAILS(MapViewOfFileEx(map, FILE_MAP_READ, 0, 0, 0x1000, write + 0x1000), ERROR_MAPPED_ALIGNMENT);
    FAILS(MapViewOfFile((HANDLE)0x4444, FILE_MAP_READ, 0, 0, 0), ERROR_INVALID_HANDLE);
    /* The address may be anywhere in the view; handles and views keep a section alive. */
    CHECK(UnmapViewOfFile(run) && query(run).State == MEM_FREE);
    FAILS(UnmapViewOfFile(run), ERROR_INVALID_ADDRESS);
    CHECK(MapViewOfFileEx(map, FILE_MAP_READ, 0, 0, 0x1000, run) == run && run[1] == 19);
    CHECK(CloseHandle(map) && run[1] == 19 && UnmapViewOfFile(run) && UnmapViewOfFile(read));
    CHECK(UnmapViewOfFile(write) && UnmapViewOfFile(copy));
    map = CreateFileMappingA(none, NULL, PAGE_READONLY, 0, 0x1000, NULL);
    FAILS(MapViewOfFile(map, FILE_MAP_WRITE, 0, 0, 0), ERROR_ACCESS_DENIED);
    CHECK((read = MapViewOfFile(map, FILE_MAP_READ, 0, 0, 0)) && read[0] == 0 && UnmapViewOfFile(read));
    CloseHandle(map);
    /* SEC_RESERVE: pages are committed by VirtualAlloc in any view, for all of them. */
    map = CreateFileMappingA(none, NULL, PAGE_READWRITE | SEC_RESERVE, 0, 0x4000, NULL);
    write = MapViewOfFile(map, FILE_MAP_WRITE, 0, 0, 0);
    read = MapViewOfFile(map, FILE_MAP_READ, 0, 0, 0);
    CHECK(query(write).State == MEM_RESERVE && touch(write, 0) == 0xc0000005);
    CHECK(VirtualAlloc(write + 0x1000, 0x1000, MEM_COMMIT, PAGE_READWRITE) == write + 0x1000);
    write[0x1000] = 5;
    CHECK(read[0x1000] == 5 && query(read + 0x1000).State == MEM_COMMIT && query(read).State == MEM_RESERVE);
    CHECK(query(read + 0x1000).Protect == PAGE_READONLY && query(read + 0x1000).RegionSize == 0x1000);
    FAILS(VirtualFree(write + 0x1000, 0x1000, MEM_DECOMMIT), ERROR_INVALID_PARAMETER);
    CHECK(UnmapViewOfFile(write) && UnmapViewOfFile(read) && CloseHandle(map));
    /* Named sections. */
    map = CreateFileMappingA(none, NULL, PAGE_READWRITE, 0, 0x1000, "umbra section");
    HANDLE again = OpenFileMappingA(FILE_MAP_READ, FALSE, "umbra section");
    write = MapViewOfFile(map, FILE_MAP_WRITE, 0, 0, 0);
    read = MapViewOfFile(again, FILE_MAP_READ, 0, 0, 0);
    CHECK(write && read && (write[3] = 8) && read[3] == 8);
    SetLastError(0);
    HANDLE third = CreateFileMappingA(none, NULL, PAGE_READWRITE, 0, 0x1000, "umbra section");
    CHECK(third && GetLastError() == ERROR_ALREADY_EXISTS);
    FAILS(OpenFileMappingA(FILE_MAP_READ, FALSE, "umbra nothing"), ERROR_FILE_NOT_FOUND);
    UnmapViewOfFile(write), UnmapViewOfFile(read), CloseHandle(map), CloseHandle(again), CloseHandle(third);
}

static void nativeSections(void) {
    HANDLE section = NULL, self = GetCurrentProcess();
    LARGE_INTEGER size = { .QuadPart = 0x2000 }, from = { .QuadPart = 0 };
    void *first = NULL, *second = NULL;
    SIZE_T length = 0;
    CHECK(NtCreateSection(&section, SECTION_ALL_ACCESS, NULL, &size, PAGE_EXECUTE_READWRITE, SEC_COMMIT, NULL) == 0);
    CHECK(NtMapViewOfSection(section, self, &first, 0, 0, NULL, &length, 2, 0, PAGE_READWRITE) == 0 && length == 0x2000);
    length = 0x10;
    CHECK(NtMapViewOfSection(section, self, &second, 0, 0, &from, &length, 1, 0, PAGE_EXECUTE_READ) == 0 && length == 0x1000);
    *(char *)first = 33;
    CHECK(*(char *)second == 33);
    CHECK(NtUnmapViewOfSection(self, (char *)first + 0x123) == 0 && query(first).State == MEM_FREE);
    CHECK(NtUnmapViewOfSection(self, first) == (NTSTATUS)0xc0000019);
    length = 0x5000;
    first = NULL;
    CHECK(NtMapViewOfSection(section, self, &first, 0, 0, NULL, &length, 2, 0, PAGE_READWRITE) == (NTSTATUS)0xc000001f);
    length = 0;
    CHECK(NtMapViewOfSection(section, self, &second, 0, 0, NULL, &length, 2, 0, PAGE_READWRITE) == (NTSTATUS)0xc0000018);
    CHECK(NtUnmapViewOfSection(self, second) == 0 && CloseHandle(section));
    CHECK(NtCreateSection(&section, SECTION_ALL_ACCESS, NULL, &size, 0x77, SEC_COMMIT, NULL) == (NTSTATUS)0xc0000045);
    /* The program's own file, mapped as an image elsewhere. */
    char path[MAX_PATH];
    GetModuleFileNameA(NULL, path, sizeof path);
    HANDLE file = CreateFileA(path, GENERIC_READ | GENERIC_EXECUTE, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
    CHECK(NtCreateSection(&section, SECTION_ALL_ACCESS, NULL, NULL, PAGE_EXECUTE, SEC_IMAGE, file) == 0);
    first = NULL;
    length = 0;
    /* Not where it is linked to, unless the program itself was moved from there. */
    NTSTATUS went = NtMapViewOfSection(section, self, &first, 0, 0, NULL, &length, 1, 0, PAGE_READONLY);
    CHECK(went == (first == (void *)0x400000 ? 0 : 0x40000003));
    char *own = (char *)GetModuleHandleA(NULL);
    IMAGE_NT_HEADERS *headers = (void *)(own + *(LONG *)(own + 0x3c));
    CHECK(first != own && memcmp(first, own, 0x40) == 0 && length == (headers->OptionalHeader.SizeOfImage + 0xfff & ~0xfff));
    CHECK(query(first).Type == MEM_IMAGE && query((char *)first + 0x1000).Protect == PAGE_EXECUTE_READ);
    CHECK(NtUnmapViewOfSection(self, first) == 0 && CloseHandle(section));
    HANDLE map = CreateFileMappingA(file, NULL, PAGE_READONLY | SEC_IMAGE, 0, 0, NULL);
    first = MapViewOfFile(map, FILE_MAP_READ, 0, 0, 0);
    CHECK(first && memcmp((char *)first + 0x1000, own + 0x1000, 0x10) == 0 && UnmapViewOfFile(first));
    CloseHandle(map);
    /* And as data: the bytes of the file, rounded up with zeros. */
    map = CreateFileMappingA(file, NULL, PAGE_READONLY, 0, 0, NULL);
    char *data = MapViewOfFile(map, FILE_MAP_READ, 0, 0, 0);
    DWORD bytes = GetFileSize(file, NULL);
    CHECK(data && memcmp(data, own, 0x40) == 0 && query(data).RegionSize == (bytes + 0xfff & ~0xfff));
    CHECK(UnmapViewOfFile(data));
    CloseHandle(map), CloseHandle(file);
    /* A file that is mapped to be written is changed. */
    GetTempPathA(sizeof path, path);
    strcat(path, "umbra-mapped.bin");
    file = CreateFileA(path, GENERIC_READ | GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);
    map = CreateFileMappingA(file, NULL, PAGE_READWRITE, 0, 0x1800, NULL);
    data = MapViewOfFile(map, FILE_MAP_WRITE, 0, 0, 0);
    CHECK(data && GetFileSize(file, NULL) == 0x1800);
    memcpy(data + 0x1000, "written", 7);
    CHECK(FlushViewOfFile(data, 0) && UnmapViewOfFile(data) && CloseHandle(map));
    char text[8] = "";
    SetFilePointer(file, 0x1000, NULL, FILE_BEGIN);
    CHECK(ReadFile(file, text, 7, &bytes, NULL) && bytes == 7 && memcmp(text, "written", 7) == 0);
    CloseHandle(file);
    FAILS(CreateFileMappingA((HANDLE)0x5550, NULL, PAGE_READONLY, 0, 0, NULL), ERROR_INVALID_HANDLE);
}

static void heaps(void) {
    HANDLE heap = HeapCreate(0x40000 /* HEAP_CREATE_ENABLE_EXECUTE */, 0x1000, 0);
    char *block = HeapAlloc(heap, 0, 16);
    CHECK(heap && block && ((DWORD)block & 7) == 0 && query(block).Protect == PAGE_EXECUTE_READWRITE);
    block[0] = (char)0xc3;
    CHECK(touch(block, 8) == 0 && HeapFree(heap, 0, block) && HeapDestroy(heap));
    CHECK(query(block).State != MEM_COMMIT);
    CHECK(query(HeapAlloc(GetProcessHeap(), 0, 16)).Protect == PAGE_READWRITE);
    /* A heap with a largest size does not grow. */
    heap = HeapCreate(0, 0, 0x10000);
    CHECK(HeapAlloc(heap, 0, 0x8000) && !HeapAlloc(heap, 0, 0xc000));
    CHECK(HeapAlloc(heap, 0, 0x100000) == NULL && HeapDestroy(heap));
    HANDLE all[8];
    CHECK(GetProcessHeaps(8, all) >= 1 && all[0] == GetProcessHeap());
    block = HeapAlloc(GetProcessHeap(), 0, 100);
    CHECK(HeapReAlloc(GetProcessHeap(), HEAP_REALLOC_IN_PLACE_ONLY, block, 50) == block && HeapSize(GetProcessHeap(), 0, block) == 50);
    CHECK(HeapReAlloc(GetProcessHeap(), HEAP_REALLOC_IN_PLACE_ONLY, block, 0x100000) == NULL);
    CHECK(HeapValidate(GetProcessHeap(), 0, NULL) && HeapValidate(GetProcessHeap(), 0, block));
    PROCESS_HEAP_ENTRY entry = { 0 };
    int found = 0, steps = 0;
    while (HeapWalk(GetProcessHeap(), &entry) && steps++ < 10000) {
        if (entry.lpData == block && (entry.wFlags & PROCESS_HEAP_ENTRY_BUSY) && entry.cbData == 50) found++;
    }
    CHECK(found == 1 && GetLastError() == ERROR_NO_MORE_ITEMS);
    CHECK(HeapFree(GetProcessHeap(), 0, block));
    CHECK(HeapAlloc(GetProcessHeap(), 0, 0x7fff0000) == NULL);
    char *large = HeapAlloc(GetProcessHeap(), HEAP_ZERO_MEMORY, 0x100000);
    CHECK(large && large[0xfffff] == 0 && HeapFree(GetProcessHeap(), 0, large) && query(large).State == MEM_FREE);
    HGLOBAL movable = GlobalAlloc(GMEM_MOVEABLE, 10);
    CHECK(movable && GlobalLock(movable) && GlobalFlags(movable) != GMEM_INVALID_HANDLE);
    GlobalUnlock(movable), GlobalFree(movable);
}

static DWORD deepest;
static int __attribute__((noinline)) recurse(int depth) {
    volatile char room[3000];
    room[0] = depth;
    deepest = depth;
    return depth == 0 ? 0 : recurse(depth - 1) + room[0];
}

static DWORD WINAPI overflow(void *unused) {
    MEMORY_BASIC_INFORMATION info;
    VirtualQuery(&info, &info, sizeof info);
    char *low = info.AllocationBase;
    /* Reserved below, a guard page above it, then what is committed. */
    CHECK(query(low).State == MEM_RESERVE && query((char *)info.BaseAddress - 0x1000).Protect == (PAGE_READWRITE | PAGE_GUARD));
    seen = 0;
    asm volatile("pushl %%ebp\n pushl %%ebx\n movl %%esp, %1\n movl $1f, %0\n"
        "2: pushl $0\n jmp 2b\n1: popl %%ebx\n popl %%ebp\n"
        : "=m"(escape), "=m"(escapeStack) : : "eax", "ecx", "edx", "esi", "edi", "memory");
    escape = 0;
    CHECK(seen == 0xc00000fd);
    return 7;
}

static void stacks(void) {
    recurse(200);
    HANDLE thread = CreateThread(NULL, 0x40000, overflow, NULL, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
    DWORD code = 0;
    CHECK(WaitForSingleObject(thread, INFINITE) == 0 && GetExitCodeThread(thread, &code) && code == 7);
    CloseHandle(thread);
}

int main(void) {
    AddVectoredExceptionHandler(1, watch);
    reserving();
    protecting();
    natives();
    sections();
    nativeSections();
    heaps();
    stacks();
    FINISH();
    return failures != 0;
}
