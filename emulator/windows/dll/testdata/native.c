/* SPDX-License-Identifier: Apache-2.0 */
/* ntdll: system calls and the runtime library, as documented and as a program that looks for a debugger asks. */
#include "check.h"
#include <string.h>
#include <winternl.h>

#define GET(name) name##_t name = (name##_t)GetProcAddress(GetModuleHandleA("ntdll"), #name)
typedef LONG(NTAPI *NtAllocateVirtualMemory_t)(HANDLE, void **, ULONG, SIZE_T *, ULONG, ULONG);
typedef LONG(NTAPI *NtProtectVirtualMemory_t)(HANDLE, void **, SIZE_T *, ULONG, ULONG *);
typedef LONG(NTAPI *NtFreeVirtualMemory_t)(HANDLE, void **, SIZE_T *, ULONG);
typedef LONG(NTAPI *NtWriteVirtualMemory_t)(HANDLE, void *, const void *, SIZE_T, SIZE_T *);
typedef LONG(NTAPI *NtQueryInformationProcess_t)(HANDLE, int, void *, ULONG, ULONG *);
typedef LONG(NTAPI *NtQuerySystemInformation_t)(int, void *, ULONG, ULONG *);
typedef LONG(NTAPI *NtCreateSection_t)(HANDLE *, ULONG, void *, LARGE_INTEGER *, ULONG, ULONG, HANDLE);
typedef LONG(NTAPI *NtMapViewOfSection_t)(HANDLE, HANDLE, void **, ULONG, SIZE_T, LARGE_INTEGER *, SIZE_T *, int, ULONG, ULONG);
typedef LONG(NTAPI *NtUnmapViewOfSection_t)(HANDLE, void *);
typedef LONG(NTAPI *LdrLoadDll_t)(WCHAR *, ULONG *, UNICODE_STRING *, HANDLE *);
typedef LONG(NTAPI *LdrGetProcedureAddress_t)(HANDLE, ANSI_STRING *, ULONG, void **);
typedef void(NTAPI *RtlInitUnicodeString_t)(UNICODE_STRING *, const WCHAR *);
typedef void(NTAPI *RtlInitAnsiString_t)(ANSI_STRING *, const char *);
typedef LONG(NTAPI *RtlUnicodeStringToAnsiString_t)(ANSI_STRING *, UNICODE_STRING *, BOOLEAN);
typedef LONG(NTAPI *RtlDecompressBuffer_t)(USHORT, void *, ULONG, void *, ULONG, ULONG *);
typedef LONG(NTAPI *RtlGetVersion_t)(OSVERSIONINFOW *);
typedef LONG(NTAPI *NtClose_t)(HANDLE);
typedef LONG(NTAPI *NtDelayExecution_t)(BOOLEAN, LARGE_INTEGER *);
typedef ULONG(NTAPI *RtlComputeCrc32_t)(ULONG, const void *, ULONG);
typedef LONG(NTAPI *NtSetInformationThread_t)(HANDLE, int, void *, ULONG);
typedef LONG(NTAPI *NtQueryVirtualMemory_t)(HANDLE, void *, int, void *, SIZE_T, SIZE_T *);

int main(void) {
    GET(NtAllocateVirtualMemory);
    GET(NtProtectVirtualMemory);
    GET(NtFreeVirtualMemory);
    GET(NtWriteVirtualMemory);
    GET(NtQueryInformationProcess);
    GET(NtQuerySystemInformation);
    GET(NtCreateSection);
    GET(NtMapViewOfSection);
    GET(NtUnmapViewOfSection);
    GET(LdrLoadDll);
    GET(LdrGetProcedureAddress);
    GET(RtlInitUnicodeString);
    GET(RtlInitAnsiString);
    GET(RtlUnicodeStringToAnsiString);
    GET(RtlDecompressBuffer);
    GET(RtlGetVersion);
    GET(NtClose);
    GET(NtDelayExecution);
    GET(RtlComputeCrc32);
    GET(NtSetInformationThread);
    GET(NtQueryVirtualMemory);
    HANDLE self = GetCurrentProcess();
    void *base = NULL;
    SIZE_T size = 0x1800, done = 0;
    ULONG old = 0, length = 0;

    CHECK(NtAllocateVirtualMemory(self, &base, 0, &size, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE) == 0);
    CHECK(base != NULL && size == 0x2000);
    void *part = (char *)base + 0x1010;
    size = 1;
    CHECK(NtProtectVirtualMemory(self, &part, &size, PAGE_EXECUTE_READ, &old) == 0 && old == PAGE_READWRITE && size == 0x1000);
    CHECK(part == (char *)base + 0x1000 && NtWriteVirtualMemory(self, base, "abc", 3, &done) == 0 && done == 3);
    MEMORY_BASIC_INFORMATION info;
    CHECK(NtQueryVirtualMemory(self, part, 0, &info, sizeof info, NULL) == 0 && info.Protect == PAGE_EXECUTE_READ);
    size = 0;
    CHECK(NtFreeVirtualMemory(self, &base, &size, MEM_RELEASE) == 0);

    DWORD port = 1, flags = 0;
    PROCESS_BASIC_INFORMATION basic;
    HANDLE object = (HANDLE)1;
    CHECK(NtQueryInformationProcess(self, 7, &port, 4, NULL) == 0 && port == 0);
    CHECK(NtQueryInformationProcess(self, 0x1e, &object, 4, NULL) == (LONG)0xc0000353 && object == NULL);
    CHECK(NtQueryInformationProcess(self, 0x1f, &flags, 4, NULL) == 0 && flags == 1);
    CHECK(NtQueryInformationProcess(self, 0, &basic, sizeof basic, &length) == 0 && length == sizeof basic);
    CHECK(basic.UniqueProcessId == GetCurrentProcessId() && basic.PebBaseAddress != NULL);
    CHECK(NtQueryInformationProcess(self, 0, &basic, 5, NULL) == (LONG)0xc0000004);
    BYTE debugger[2] = { 9, 9 };
    CHECK(NtQuerySystemInformation(0x23, debugger, 2, NULL) == 0 && debugger[0] == 0 && debugger[1] == 1);
    CHECK(NtQuerySystemInformation(5, NULL, 0, &length) == (LONG)0xc0000004 && length > 184);
    CHECK(NtSetInformationThread(GetCurrentThread(), 0x11, NULL, 0) == 0);
    CHECK(NtSetInformationThread(GetCurrentThread(), 0x11, NULL, 4) == (LONG)0xc0000004);
    CHECK(NtClose((HANDLE)0x7778) == (LONG)0xc0000008);

    HANDLE section = NULL;
    LARGE_INTEGER maximum = { .QuadPart = 0x2000 };
    void *first = NULL, *second = NULL;
    SIZE_T view = 0;
    CHECK(NtCreateSection(&section, SECTION_ALL_ACCESS, NULL, &maximum, PAGE_EXECUTE_READWRITE, SEC_COMMIT, NULL) == 0);
    CHECK(NtMapViewOfSection(section, self, &first, 0, 0, NULL, &view, 2, 0, PAGE_READWRITE) == 0 && view == 0x2000);
    view = 0;
    CHECK(NtMapViewOfSection(section, self, &second, 0, 0, NULL, &view, 2, 0, PAGE_READWRITE) == 0 && second != first);
    strcpy(first, "shared");
    CHECK(strcmp(second, "shared") == 0 && NtUnmapViewOfSection(self, first) == 0 && strcmp(second, "shared") == 0);

    UNICODE_STRING name;
    ANSI_STRING narrow;
    void *address = NULL;
    HANDLE module = NULL;
    RtlInitUnicodeString(&name, L"user32.dll");
    CHECK(name.Length == 20 && name.MaximumLength == 22 && LdrLoadDll(NULL, NULL, &name, &module) == 0);
    RtlInitAnsiString(&narrow, "MessageBoxA");
    CHECK(LdrGetProcedureAddress(module, &narrow, 0, &address) == 0 && address == GetProcAddress(module, "MessageBoxA"));
    RtlInitAnsiString(&narrow, "NoSuchFunction");
    CHECK(LdrGetProcedureAddress(module, &narrow, 0, &address) == (LONG)0xc000007a);
    CHECK(RtlUnicodeStringToAnsiString(&narrow, &name, TRUE) == 0 && strcmp(narrow.Buffer, "user32.dll") == 0);
    OSVERSIONINFOW version = { sizeof version };
    CHECK(RtlGetVersion(&version) == 0 && version.dwMajorVersion == 6 && version.dwBuildNumber == 7601);
    CHECK(RtlComputeCrc32(0, "123456789", 9) == 0xcbf43926);
    LARGE_INTEGER delay = { .QuadPart = -1000000 };
    DWORD start = GetTickCount();
    CHECK(NtDelayExecution(FALSE, &delay) == 0 && GetTickCount() - start >= 90);

    /* The example of MS-XCA, section 3.2. */
    static BYTE packed[] = { 0x38, 0xb0, 0x88, 0x46, 0x23, 0x20, 0x00, 0x20, 0x47, 0x20, 0x41, 0x00, 0x10, 0xa2, 0x47,
        0x01, 0xa0, 0x45, 0x20, 0x44, 0x00, 0x08, 0x45, 0x01, 0x50, 0x79, 0x00, 0xc0, 0x45, 0x20, 0x05, 0x24, 0x13,
        0x88, 0x05, 0xb4, 0x02, 0x4a, 0x44, 0xef, 0x03, 0x58, 0x02, 0x8c, 0x09, 0x16, 0x01, 0x48, 0x45, 0x00, 0xbe,
        0x00, 0x9e, 0x00, 0x04, 0x01, 0x18, 0x90, 0x00 };
    static const char plain[] = "F# F# G A A G F# E D D E F# F# E E F# F# G A A G F# E D D E F# E D D E E F# D E F# G F# D E F# G F# E D E A F# F# G A A G F# E D D E F# E D D";
    char out[256];
    ULONG final = 0;
    CHECK(RtlDecompressBuffer(2, out, sizeof out, packed, sizeof packed, &final) == 0 && final == sizeof plain);
    CHECK(memcmp(out, plain, sizeof plain) == 0);
    CHECK(RtlDecompressBuffer(3, out, sizeof out, packed, sizeof packed, &final) == (LONG)0xc000025f);
    FINISH();
    return failures;
}
