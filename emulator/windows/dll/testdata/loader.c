/* SPDX-License-Identifier: Apache-2.0 */
/* What the loader does: relocations, TLS, DLLs that come and go, forwards, API sets, the overlay. */
#define _WIN32_WINNT 0x0601
#include "check.h"
#include <string.h>

extern ULONG _tls_index;
extern char _tls_start;
/* Static TLS: what stands in this section is every thread's own. */
__attribute__((section(".tls$B"))) int own = 5;
static int *ownOf(void) {
    char **blocks;
    asm volatile("movl %%fs:0x2c, %0" : "=r"(blocks) : : "memory");
    return (int *)(blocks[_tls_index] + ((char *)&own - &_tls_start));
}

static int tls[4], early, ownEarly;
static void NTAPI callback(void *module, DWORD reason, void *reserved) {
    tls[reason & 3]++;
    if (reason == DLL_PROCESS_ATTACH) {
        early = tls[1];
        ownEarly = *ownOf();
    }
    /* At the end only the callback can say that it was called: main returns 1 and is put right here. */
    if (reason == DLL_PROCESS_DETACH && failures == 0) TerminateProcess(GetCurrentProcess(), 0);
}
__attribute__((section(".CRT$XLC"), used)) PIMAGE_TLS_CALLBACK entry = callback;

static DWORD WINAPI thread(void *unused) {
    CHECK(*ownOf() == 5 && tls[DLL_THREAD_ATTACH] == 1);
    *ownOf() = 9;
    return 0;
}

static void run(LPTHREAD_START_ROUTINE start) {
    HANDLE handle = CreateThread(NULL, 0, start, NULL, 0, NULL);
    WaitForSingleObject(handle, INFINITE);
    CloseHandle(handle);
}

static DWORD WINAPI nothing(void *unused) { return 0; }

static void threads(void) {
    CHECK(early == 1 && ownEarly == 5 && *ownOf() == 5);
    *ownOf() = 6;
    run(thread);
    CHECK(tls[DLL_THREAD_DETACH] == 1 && *ownOf() == 6);
}

static void image(void) {
    char *base = (char *)GetModuleHandleA(NULL);
    IMAGE_NT_HEADERS *headers = (void *)(base + *(LONG *)(base + 0x3c));
    /* Wherever it lies, the headers say so; pointers in the data were moved with it. */
    CHECK(headers->OptionalHeader.ImageBase == (DWORD)base);
    static void *pointer = &checks;
    CHECK((char *)pointer > base && (char *)pointer < base + headers->OptionalHeader.SizeOfImage);
    CHECK(FindResourceA(NULL, "LIBRARY", RT_RCDATA) != NULL);
    char path[MAX_PATH], tail[8];
    DWORD done;
    GetModuleFileNameA(NULL, path, sizeof path);
    HANDLE file = CreateFileA(path, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
    SetFilePointer(file, -7, NULL, FILE_END);
    CHECK(ReadFile(file, tail, 7, &done, NULL) && done == 7 && memcmp(tail, "overlay", 7) == 0);
    CloseHandle(file);
}

static void names(void) {
    HMODULE kernel = GetModuleHandleA("KERNEL32"), nt = GetModuleHandleA("ntdll.DLL");
    CHECK(kernel && nt && GetProcAddress(kernel, "HeapAlloc") == GetProcAddress(nt, "RtlAllocateHeap"));
    CHECK(GetProcAddress(kernel, "HeapAlloc ") == NULL && GetLastError() == ERROR_PROC_NOT_FOUND);
    CHECK(GetProcAddress(kernel, "heapalloc") == NULL);
    HMODULE set = LoadLibraryA("api-ms-win-core-file-l1-1-0.dll");
    CHECK(set && GetProcAddress(set, "CreateFileW"));
    CHECK(LoadLibraryA("umbra-nothing.dll") == NULL && GetLastError() == ERROR_MOD_NOT_FOUND);
    CHECK(GetModuleHandleA("umbra-nothing.dll") == NULL);
    CHECK(LoadLibraryA("kernel32") == kernel && FreeLibrary(kernel) && GetModuleHandleA("kernel32") == kernel);
}

static int told[4];

static void libraries(void) {
    HRSRC found = FindResourceA(NULL, "LIBRARY", RT_RCDATA);
    void *bytes = LockResource(LoadResource(NULL, found));
    char first[MAX_PATH], second[MAX_PATH];
    DWORD done;
    GetTempPathA(sizeof first, first);
    strcpy(second, first);
    strcat(first, "umbra-one.dll");
    strcat(second, "umbra-two.dll");
    for (int i = 0; i < 2; i++) {
        HANDLE file = CreateFileA(i ? second : first, GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);
        CHECK(WriteFile(file, bytes, SizeofResource(NULL, found), &done, NULL));
        CloseHandle(file);
    }
    HMODULE one = LoadLibraryA(first), two = LoadLibraryA(second);
    CHECK(one && two && one != two && GetModuleHandleA("umbra-one.dll") == one);
    int (*seven)(void) = (void *)GetProcAddress(two, "seven");
    char *(*where)(void) = (void *)GetProcAddress(two, "where");
    int *counts = (int *)GetProcAddress(one, "counts");
    CHECK(seven && seven() == 7 && where() > (char *)two && where() < (char *)two + 0x100000);
    CHECK(counts[1] == 1 && counts[0] == 0);
    run(nothing);
    CHECK(counts[2] == 1 && counts[3] == 1);
    CHECK(DisableThreadLibraryCalls(one));
    run(nothing);
    CHECK(counts[2] == 1 && ((int *)GetProcAddress(two, "counts"))[2] == 2);
    /* Each load wants its free; the last one takes the DLL away. */
    CHECK(LoadLibraryA("umbra-one.dll") == one && counts[1] == 1);
    *(int **)GetProcAddress(one, "told") = told;
    CHECK(FreeLibrary(one) && told[0] == 0 && GetModuleHandleA("umbra-one.dll") == one);
    CHECK(FreeLibrary(one) && told[0] == 1 && GetModuleHandleA("umbra-one.dll") == NULL);
    MEMORY_BASIC_INFORMATION info;
    CHECK(VirtualQuery(one, &info, sizeof info) && info.State == MEM_FREE);
    CHECK(!FreeLibrary(one));
    one = LoadLibraryA(first);
    CHECK(one && ((int *)GetProcAddress(one, "counts"))[1] == 1);
}

int main(void) {
    threads();
    image();
    names();
    libraries();
    FINISH();
    return 1;
}
