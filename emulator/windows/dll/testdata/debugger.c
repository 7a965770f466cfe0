/* SPDX-License-Identifier: Apache-2.0 */
/* Questions that programs ask to find a debugger: each must be answered as an ordinary desktop does. */
#define _WIN32_WINNT 0x0601
#include "check.h"
#include <string.h>
#include <tlhelp32.h>
#include <winternl.h>

static BYTE *peb, *ntdll_base;
static HMODULE ntdll;
static volatile DWORD caught, address, registers_set;
static void *resume;

/* Notes an exception, skips the bytes that raised it. */
static LONG CALLBACK note(EXCEPTION_POINTERS *exception) {
    CONTEXT *context = exception->ContextRecord;
    caught = exception->ExceptionRecord->ExceptionCode;
    address = (DWORD)exception->ExceptionRecord->ExceptionAddress;
    registers_set = context->Dr0 | context->Dr1 | context->Dr2 | context->Dr3;
    if (resume) context->Eip = (DWORD)resume;
    return EXCEPTION_CONTINUE_EXECUTION;
}
static volatile int filtered;
static LONG WINAPI filter(EXCEPTION_POINTERS *exception) {
    filtered = exception->ExceptionRecord->ExceptionCode;
    return EXCEPTION_CONTINUE_EXECUTION;
}
#define RAISES(code) do { caught = 0; asm volatile("movl $1f, %0\n\t" code "\n1:" : "=m"(resume) : : "memory", "eax", "cc"); resume = NULL; } while (0)

static void flags(void) {
    BOOL remote = TRUE;
    CONTEXT context = { CONTEXT_DEBUG_REGISTERS };
    asm("movl %%fs:0x30, %0" : "=r"(peb));
    CHECK(!IsDebuggerPresent() && peb[2] == 0 && (*(DWORD *)(peb + 0x68) & 0x70) == 0);
    CHECK(CheckRemoteDebuggerPresent(GetCurrentProcess(), &remote) && !remote);
    BYTE *heap = *(BYTE **)(peb + 0x18);
    CHECK(heap == (BYTE *)GetProcessHeap() && *(DWORD *)(heap + 0x40) == 2 && *(DWORD *)(heap + 0x44) == 0);
    heap = HeapCreate(0, 0, 0);
    CHECK(*(DWORD *)(heap + 0x44) == 0 && (*(DWORD *)(heap + 0x40) & ~0x1002) == 0);
    BYTE *block = HeapAlloc(GetProcessHeap(), 0, 24);
    CHECK(*(DWORD *)(block + 24) != 0xabababab && *(DWORD *)block != 0xbaadf00d);
    CHECK(*(BYTE *)0x7ffe02d4 == 0 && GetThreadContext(GetCurrentThread(), &context) && context.Dr0 == 0 && context.Dr7 == 0);
}

static void queries(void) {
    LONG (WINAPI *process)(HANDLE, int, void *, ULONG, ULONG *) = (void *)GetProcAddress(ntdll, "NtQueryInformationProcess");
    LONG (WINAPI *set)(HANDLE, int, void *, ULONG) = (void *)GetProcAddress(ntdll, "NtSetInformationThread");
    LONG (WINAPI *thread)(HANDLE, int, void *, ULONG, ULONG *) = (void *)GetProcAddress(ntdll, "NtQueryInformationThread");
    LONG (WINAPI *system)(int, void *, ULONG, ULONG *) = (void *)GetProcAddress(ntdll, "NtQuerySystemInformation");
    LONG (WINAPI *close)(HANDLE) = (void *)GetProcAddress(ntdll, "NtClose");
    LONG (WINAPI *state)(ULONG, ULONG, BOOLEAN) = (void *)GetProcAddress(ntdll, "NtSetDebugFilterState");
    DWORD port = 1, debug_flags = 0;
    HANDLE object = (HANDLE)1;
    BYTE kernel[2] = { 1, 0 }, hidden = 0;
    CHECK(process((HANDLE)-1, 7, &port, 4, NULL) == 0 && port == 0);
    CHECK(process((HANDLE)-1, 0x1e, &object, 4, NULL) == (LONG)0xc0000353 && object == NULL);
    CHECK(process((HANDLE)-1, 0x1f, &debug_flags, 4, NULL) == 0 && debug_flags == 1);
    CHECK(set((HANDLE)-2, 0x11, NULL, 0) == 0 && thread((HANDLE)-2, 0x11, &hidden, 1, NULL) == 0 && hidden == 1);
    CHECK(set((HANDLE)-2, 0x11, &port, 4) == (LONG)0xc0000004 && set((HANDLE)0xffff0, 0x11, NULL, 0) == (LONG)0xc0000008);
    CHECK(system(0x23, kernel, 2, NULL) == 0 && kernel[0] == 0 && kernel[1] == 1);
    caught = 0;
    CHECK(!CloseHandle((HANDLE)0x99999998) && GetLastError() == ERROR_INVALID_HANDLE && close((HANDLE)0x99999998) == (LONG)0xc0000008 && caught == 0);
    CHECK(state(0, 0, TRUE) == (LONG)0xc0000022);
    SetLastError(0xbeef);
    OutputDebugStringA("%s%s%s%s");
    OutputDebugStringW(L"text");
    CHECK(GetLastError() == 0xbeef && caught == 0);
}

static void exceptions(void) {
    void *handler = AddVectoredExceptionHandler(1, note);
    RAISES("int3");
    CHECK(caught == EXCEPTION_BREAKPOINT && registers_set == 0);
    RAISES("int $0x2d\n\tnop");
    CHECK(caught == EXCEPTION_BREAKPOINT);
    RAISES(".byte 0xf1");
    CHECK(caught == EXCEPTION_SINGLE_STEP);
    RAISES("pushf\n\torl $0x100, (%%esp)\n\tpopf\n\tnop");
    CHECK(caught == EXCEPTION_SINGLE_STEP);
    RAISES(".byte 0xcd, 0x03");
    CHECK(caught == EXCEPTION_BREAKPOINT);
    caught = 0;
    RaiseException(0x40010005, 0, 0, NULL); /* DBG_CONTROL_C: a debugger would keep it */
    CHECK(caught == 0x40010005);
    caught = 0;
    RaiseException(0x40010006, 0, 0, NULL); /* DBG_PRINTEXCEPTION_C */
    CHECK(caught == 0x40010006);
    RemoveVectoredExceptionHandler(handler);
    SetUnhandledExceptionFilter(filter);
    RaiseException(0xe0001234, 0, 0, NULL);
    CHECK(filtered == (int)0xe0001234);
}

static BOOL CALLBACK window(HWND handle, LPARAM bad) {
    char name[128] = "";
    GetClassNameA(handle, name, sizeof name);
    if (strcmp(name, "OLLYDBG") == 0 || strcmp(name, "WinDbgFrameClass") == 0) *(int *)bad = 1;
    return TRUE;
}

static void company(void) {
    static const char *const windows[] = { "OLLYDBG", "WinDbgFrameClass", "ID", "Zeta Debugger", "Rock Debugger", "ObsidianGUI", "PROCMON_WINDOW_CLASS", "Qt5QWindowIcon" };
    static const char *const programs[] = { "ollydbg.exe", "windbg.exe", "x32dbg.exe", "idaq.exe", "procmon.exe", "wireshark.exe", "vboxservice.exe", "vmtoolsd.exe", "python.exe" };
    PROCESSENTRY32 entry = { sizeof entry };
    DWORD own = 0, explorer = 0, count = 0;
    int bad = 0;
    for (int i = 0; i < 8; i++) CHECK(FindWindowA(windows[i], NULL) == NULL);
    CHECK(EnumWindows(window, (LPARAM)&bad) && !bad && GetShellWindow() && FindWindowA("Shell_TrayWnd", NULL));
    HANDLE snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0);
    for (BOOL more = Process32First(snapshot, &entry); more; more = Process32Next(snapshot, &entry), count++) {
        for (int i = 0; i < 9; i++) bad |= lstrcmpiA(entry.szExeFile, programs[i]) == 0;
        if (lstrcmpiA(entry.szExeFile, "explorer.exe") == 0) explorer = entry.th32ProcessID;
        if (entry.th32ProcessID == GetCurrentProcessId()) own = entry.th32ParentProcessID;
    }
    CHECK(!bad && explorer && own == explorer && count >= 15);
    DWORD shell = 0;
    GetWindowThreadProcessId(GetShellWindow(), &shell);
    CHECK(shell == explorer);
    DWORD (WINAPI *csrss)(void) = (void *)GetProcAddress(ntdll, "CsrGetProcessId");
    CHECK(csrss() != 0 && OpenProcess(PROCESS_ALL_ACCESS, FALSE, csrss()) == NULL);
    CHECK(CreateFileA("\\\\.\\NTICE", GENERIC_READ, 0, NULL, OPEN_EXISTING, 0, NULL) == INVALID_HANDLE_VALUE && CreateFileA("\\\\.\\SICE", GENERIC_READ, 0, NULL, OPEN_EXISTING, 0, NULL) == INVALID_HANDLE_VALUE);
    CHECK(GetModuleHandleA("dbghelp.dll") == NULL && GetModuleHandleA("SbieDll.dll") == NULL && GetModuleHandleA("api_log.dll") == NULL);
    STARTUPINFOA startup;
    GetStartupInfoA(&startup);
    CHECK(startup.dwX == 0 && startup.dwY == 0 && startup.dwXSize == 0 && startup.dwXCountChars == 0 && startup.dwFillAttribute == 0);
}

int main(void) {
    ntdll = GetModuleHandleA("ntdll.dll");
    flags();
    queries();
    exceptions();
    company();
    FINISH();
    return failures;
}
