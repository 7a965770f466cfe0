/* SPDX-License-Identifier: Apache-2.0 */
/* Programs that look whether they or the DLLs were changed, and that find functions without asking for them. */
#include "check.h"
#include <stdlib.h>
#include <string.h>

typedef struct entry { struct entry *next, *back; } entry;

static DWORD crc(const BYTE *bytes, DWORD length) {
    DWORD value = ~0u;
    while (length--) {
        value ^= *bytes++;
        for (int i = 0; i < 8; i++) value = value >> 1 ^ (value & 1 ? 0xedb88320 : 0);
    }
    return ~value;
}

/* The program's file is what is in memory: headers and code, byte for byte. */
static void own_file(void) {
    char path[MAX_PATH];
    DWORD done = 0;
    BYTE *image = (BYTE *)GetModuleHandleA(NULL);
    GetModuleFileNameA(NULL, path, sizeof path);
    HANDLE file = CreateFileA(path, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
    DWORD size = GetFileSize(file, NULL);
    BYTE *bytes = malloc(size);
    CHECK(ReadFile(file, bytes, size, &done, NULL) && done == size);
    IMAGE_NT_HEADERS *headers = (void *)(image + ((IMAGE_DOS_HEADER *)image)->e_lfanew);
    IMAGE_SECTION_HEADER *text = IMAGE_FIRST_SECTION(headers);
    CHECK(memcmp(image, bytes, headers->OptionalHeader.SizeOfHeaders) == 0 && memcmp(text->Name, ".text", 5) == 0);
    CHECK(crc(image + text->VirtualAddress, text->Misc.VirtualSize) == crc(bytes + text->PointerToRawData, text->Misc.VirtualSize));
    free(bytes);
}

static DWORD hash(const char *name) {
    DWORD value = 0;
    while (*name) value = (value >> 13 | value << 19) + *name++;
    return value;
}

/* A function by the hash of its name: through the PEB, as code without imports does it. */
static void *by_hash(DWORD wanted) {
    BYTE *peb;
    asm("movl %%fs:0x30, %0" : "=r"(peb));
    entry *head = (entry *)(*(BYTE **)(peb + 0x0c) + 0x14);
    for (entry *at = head->next; at != head; at = at->next) {
        BYTE *base = *(BYTE **)((BYTE *)at + 0x10);
        IMAGE_NT_HEADERS *headers = (void *)(base + ((IMAGE_DOS_HEADER *)base)->e_lfanew);
        IMAGE_DATA_DIRECTORY *where = headers->OptionalHeader.DataDirectory;
        if (!where->VirtualAddress) continue;
        IMAGE_EXPORT_DIRECTORY *exports = (void *)(base + where->VirtualAddress);
        DWORD *names = (void *)(base + exports->AddressOfNames), *functions = (void *)(base + exports->AddressOfFunctions);
        WORD *ordinals = (void *)(base + exports->AddressOfNameOrdinals);
        for (DWORD i = 0; i < exports->NumberOfNames; i++)
            if (hash((char *)base + names[i]) == wanted) return base + functions[ordinals[i]];
    }
    return NULL;
}

static void lists(void) {
    HMODULE kernel = GetModuleHandleA("kernel32.dll"), ntdll = GetModuleHandleA("ntdll.dll");
    CHECK(by_hash(0xec0e4e8e) == (void *)GetProcAddress(kernel, "LoadLibraryA") && by_hash(0x7c0dfcaa) == (void *)GetProcAddress(kernel, "GetProcAddress"));
    CHECK(by_hash(0x91afca54) == (void *)GetProcAddress(kernel, "VirtualAlloc") && by_hash(0x0e8afe98) == (void *)GetProcAddress(kernel, "WinExec"));
    BYTE *peb;
    asm("movl %%fs:0x30, %0" : "=r"(peb));
    BYTE *data = *(BYTE **)(peb + 0x0c);
    /* In the order of their start: ntdll, kernelbase, kernel32. */
    entry *first = ((entry *)(data + 0x1c))->next;
    CHECK(*(void **)((BYTE *)first + 8) == ntdll && *(void **)((BYTE *)first->next->next + 8) == kernel);
    /* In the order of loading: the program, ntdll, kernel32. */
    first = ((entry *)(data + 0x0c))->next;
    CHECK(*(void **)((BYTE *)first + 0x18) == GetModuleHandleA(NULL) && *(void **)((BYTE *)first->next + 0x18) == ntdll && *(void **)((BYTE *)first->next->next + 0x18) == kernel);
    WCHAR *name = *(WCHAR **)((BYTE *)first->next->next + 0x30);
    CHECK(lstrcmpiW(name, L"kernel32.dll") == 0 && name[12] == 0);
    int count = 0;
    for (entry *at = ((entry *)(data + 0x0c))->next; at != (entry *)(data + 0x0c); at = at->next) count++;
    CHECK(count >= 4 && count < 40);
    CHECK(((IMAGE_DOS_HEADER *)kernel)->e_magic == IMAGE_DOS_SIGNATURE && *(DWORD *)((BYTE *)kernel + ((IMAGE_DOS_HEADER *)kernel)->e_lfanew) == IMAGE_NT_SIGNATURE);
    /* kernel32 is found going down from an address inside it. */
    BYTE *down = (BYTE *)((DWORD)GetProcAddress(kernel, "CreateFileA") & ~0xffff);
    while (*(WORD *)down != IMAGE_DOS_SIGNATURE) down -= 0x10000;
    CHECK(down == (BYTE *)kernel);
}

static int is_clean(const BYTE *code) {
    return code[0] != 0xe9 && code[0] != 0xeb && code[0] != 0xcc && code[0] != 0xea && !(code[0] == 0xff && code[1] == 0x25) && !(code[0] == 0x68 && code[5] == 0xc3);
}

/* Beginnings of functions: none is patched, those that can be hot-patched look it, system calls load their number. */
static void prologues(void) {
    static const char *const usual[] = { "CreateFileA", "VirtualAlloc", "VirtualProtect", "WriteFile", "CreateProcessA", "LoadLibraryA", "GetProcAddress", "Sleep" };
    static const char *const calls[] = { "NtAllocateVirtualMemory", "NtProtectVirtualMemory", "NtWriteVirtualMemory", "ZwUnmapViewOfSection", "NtQueryInformationProcess", "NtClose", "NtDelayExecution" };
    static const BYTE patchable[] = { 0x8b, 0xff, 0x55, 0x8b, 0xec };
    HMODULE kernel = GetModuleHandleA("kernel32.dll"), ntdll = GetModuleHandleA("ntdll.dll"), user = LoadLibraryA("user32.dll");
    for (int i = 0; i < 8; i++) {
        const BYTE *code = (void *)GetProcAddress(kernel, usual[i]);
        CHECK(is_clean(code) && memcmp(code, patchable, 5) == 0 && code[-1] == 0x90 && code[-5] == 0x90);
    }
    CHECK(memcmp((void *)GetProcAddress(user, "MessageBoxA"), patchable, 5) == 0);
    DWORD last = 0;
    for (int i = 0; i < 7; i++) {
        const BYTE *code = (void *)GetProcAddress(ntdll, calls[i]);
        CHECK(code[0] == 0xb8 && *(WORD *)(code + 3) == 0 && code[5] == 0xba && *(DWORD *)(code + 6) == 0x7ffe0300 && code[10] == 0xff && code[11] == 0x12);
        CHECK(*(DWORD *)(code + 1) != last);
        last = *(DWORD *)(code + 1);
    }
    CHECK(*(BYTE *)GetProcAddress(ntdll, "DbgBreakPoint") == 0xcc && ((BYTE *)GetProcAddress(ntdll, "DbgBreakPoint"))[1] == 0xc3);
    CHECK(*(void **)0x7ffe0300 == (void *)GetProcAddress(ntdll, "KiFastSystemCall") && *(WORD *)GetProcAddress(ntdll, "KiFastSystemCall") == 0xd48b);
    /* A stub that is copied elsewhere still is a system call. */
    BYTE *copy = VirtualAlloc(NULL, 0x1000, MEM_COMMIT, PAGE_EXECUTE_READWRITE);
    memcpy(copy, (void *)GetProcAddress(ntdll, "NtClose"), 16);
    CHECK(((LONG (WINAPI *)(HANDLE))copy)((HANDLE)0x7778) == (LONG)0xc0000008);
    /* A function may be patched and called through a bridge over its first bytes. */
    BYTE *function = (void *)GetProcAddress(kernel, "GetTickCount64"), *bridge = copy + 64;
    (void)function;
    BYTE *target = (void *)GetProcAddress(kernel, "CreateFileA");
    memcpy(bridge, target, 5);
    bridge[5] = 0xe9;
    *(DWORD *)(bridge + 6) = (DWORD)(target + 5) - (DWORD)(bridge + 10);
    HANDLE file = ((HANDLE (WINAPI *)(const char *, DWORD, DWORD, void *, DWORD, DWORD, HANDLE))bridge)("C:\\none", GENERIC_READ, 0, NULL, OPEN_EXISTING, 0, NULL);
    CHECK(file == INVALID_HANDLE_VALUE && GetLastError() == ERROR_FILE_NOT_FOUND);
}

int main(void) {
    own_file();
    lists();
    prologues();
    FINISH();
    return failures;
}
