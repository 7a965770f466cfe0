/* SPDX-License-Identifier: Apache-2.0 */
/* Processes: of itself, of files it wrote, of the system; suspended, written into, mapped into, watched end. */
#define _WIN32_WINNT 0x0601
#include "check.h"
#include <psapi.h>
#include <stdlib.h>
#include <string.h>
#include <tlhelp32.h>

static char self[MAX_PATH];
static PROCESS_INFORMATION info;
static volatile int secret = 0x1234;

static BOOL start(const char *image, const char *arguments, DWORD flags) {
    STARTUPINFOA startup = { sizeof startup };
    char line[600];
    wsprintfA(line, "\"%s\" %s", image, arguments);
    return CreateProcessA(NULL, line, NULL, NULL, FALSE, flags, NULL, NULL, &startup, &info);
}
static DWORD finish(void) {
    DWORD code = 0;
    CHECK(WaitForSingleObject(info.hProcess, 60000) == WAIT_OBJECT_0 && GetExitCodeProcess(info.hProcess, &code));
    CloseHandle(info.hThread);
    CloseHandle(info.hProcess);
    return code;
}

/* What the child does, by its first argument. */
static int child(int count, char **words) {
    char text[MAX_PATH];
    if (strcmp(words[1], "code") == 0) return atoi(words[2]);
    if (strcmp(words[1], "environment") == 0) {
        if (GetEnvironmentVariableA("ONLY", text, sizeof text) != 5 || strcmp(text, "child")) return 2;
        if (GetEnvironmentVariableA("TEMP", text, sizeof text)) return 3;
        GetCurrentDirectoryA(sizeof text, text);
        return strcmp(text, "C:\\Windows") ? 4 : 77;
    }
    if (strcmp(words[1], "secret") == 0) return secret;
    if (strcmp(words[1], "event") == 0) {
        HANDLE event = OpenEventA(EVENT_MODIFY_STATE, FALSE, "umbra-go");
        return event && SetEvent(event) ? 5 : 6;
    }
    if (strcmp(words[1], "handle") == 0) return WaitForSingleObject((HANDLE)(INT_PTR)atoi(words[2]), 5000);
    if (strcmp(words[1], "mutex") == 0) {
        WaitForSingleObject(OpenMutexA(SYNCHRONIZE, FALSE, "umbra-left"), INFINITE);
        ExitProcess(8);
    }
    if (strcmp(words[1], "crash") == 0) *(volatile int *)16 = 1;
    if (strcmp(words[1], "sleep") == 0) Sleep(INFINITE);
    return 1;
}

static void itself(void) {
    DWORD code = 0;
    CHECK(start(self, "code 41", 0) && info.dwProcessId && info.dwThreadId && GetProcessId(info.hProcess) == info.dwProcessId && finish() == 41);
    STARTUPINFOA startup = { sizeof startup };
    char line[] = "words environment";
    CHECK(CreateProcessA(self, line, NULL, NULL, FALSE, 0, "ONLY=child\0SystemRoot=C:\\Windows\0", "C:\\Windows", &startup, &info) && finish() == 77);
    CHECK(start(self, "crash", 0) && finish() == STATUS_ACCESS_VIOLATION);
    CHECK(start(self, "sleep", 0) && WaitForSingleObject(info.hProcess, 100) == WAIT_TIMEOUT && GetExitCodeProcess(info.hProcess, &code) && code == STILL_ACTIVE);
    CHECK(TerminateProcess(info.hProcess, 9) && finish() == 9);
    CHECK(!start("C:\\nothing.exe", "", 0) && GetLastError() == ERROR_FILE_NOT_FOUND);
    CHECK(WinExec("\"C:\\nothing.exe\"", SW_HIDE) == ERROR_FILE_NOT_FOUND && WinExec("cmd.exe /c exit", SW_HIDE) > 31);
    CHECK(!start(self, "code 1", DEBUG_PROCESS) && GetLastError() == ERROR_NOT_SUPPORTED);
}

/* A program that this one wrote. */
static void dropped(void) {
    DWORD done = 0, size = 0;
    char *bytes;
    HANDLE file = CreateFileA(self, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
    size = GetFileSize(file, NULL);
    bytes = malloc(size);
    CHECK(ReadFile(file, bytes, size, &done, NULL) && done == size && CloseHandle(file));
    file = CreateFileA("C:\\Users\\user\\AppData\\Local\\Temp\\other.exe", GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);
    CHECK(WriteFile(file, bytes, size, &done, NULL) && CloseHandle(file));
    CHECK(start("C:\\Users\\user\\AppData\\Local\\Temp\\other.exe", "code 17", 0));
    char path[MAX_PATH];
    DWORD length = sizeof path;
    CHECK(QueryFullProcessImageNameA(info.hProcess, 0, path, &length) && strcmp(path, "C:\\Users\\user\\AppData\\Local\\Temp\\other.exe") == 0);
    CHECK(finish() == 17 && CopyFileA(self, "C:\\copy.exe", FALSE) && start("C:\\copy.exe", "code 18", 0) && finish() == 18);
    file = CreateFileA("C:\\bad.exe", GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);
    WriteFile(file, "no program", 10, &done, NULL);
    CloseHandle(file);
    CHECK(!start("C:\\bad.exe", "", 0) && GetLastError() == ERROR_BAD_EXE_FORMAT);
    free(bytes);
}

static void memory(void) {
    MEMORY_BASIC_INFORMATION region;
    SIZE_T done = 0;
    DWORD old = 0;
    int value = 99, seen = 0;
    CONTEXT context = { CONTEXT_FULL };
    CHECK(start(self, "secret", CREATE_SUSPENDED) && WaitForSingleObject(info.hProcess, 50) == WAIT_TIMEOUT);
    CHECK(GetThreadContext(info.hThread, &context) && ReadProcessMemory(info.hProcess, (void *)(context.Ebx + 8), &seen, 4, &done) && done == 4 && seen == 0x400000);
    CHECK(ReadProcessMemory(info.hProcess, (void *)&secret, &seen, 4, &done) && seen == 0x1234 && WriteProcessMemory(info.hProcess, (void *)&secret, &value, 4, &done) && done == 4 && secret == 0x1234);
    CHECK(!ReadProcessMemory(info.hProcess, (void *)0x10, &seen, 4, &done) && GetLastError() == ERROR_PARTIAL_COPY && done == 0);
    CHECK(!WriteProcessMemory(info.hProcess, (void *)0x10, &seen, 4, &done) && GetLastError() == ERROR_NOACCESS);
    char *there = VirtualAllocEx(info.hProcess, NULL, 0x2000, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE);
    CHECK(there && VirtualProtectEx(info.hProcess, there, 0x1000, PAGE_EXECUTE_READ, &old) && old == PAGE_READWRITE);
    CHECK(VirtualQueryEx(info.hProcess, there, &region, sizeof region) == sizeof region && region.Protect == PAGE_EXECUTE_READ && region.RegionSize == 0x1000);
    /* Code may be written over; the page stays what it was. */
    CHECK(WriteProcessMemory(info.hProcess, there, &value, 4, &done) && VirtualQueryEx(info.hProcess, there, &region, sizeof region) && region.Protect == PAGE_EXECUTE_READ);
    CHECK(VirtualFreeEx(info.hProcess, there, 0, MEM_RELEASE) && VirtualQueryEx(info.hProcess, there, &region, sizeof region) && region.State == MEM_FREE);
    CHECK(ResumeThread(info.hThread) == 1 && finish() == 99);
    CHECK(!ReadProcessMemory((HANDLE)0x7770, (void *)&secret, &seen, 4, &done) && GetLastError() == ERROR_INVALID_HANDLE);
}

static void objects(void) {
    char words[32];
    HANDLE event = CreateEventA(NULL, FALSE, FALSE, "umbra-go"), there = NULL;
    CHECK(start(self, "event", 0) && WaitForSingleObject(event, 30000) == WAIT_OBJECT_0 && finish() == 5);
    /* A handle made in the child. */
    CHECK(start(self, "sleep", CREATE_SUSPENDED) && DuplicateHandle(GetCurrentProcess(), event, info.hProcess, &there, 0, FALSE, DUPLICATE_SAME_ACCESS) && there);
    CHECK(TerminateProcess(info.hProcess, 3) && finish() == 3);
    HANDLE mutex = CreateMutexA(NULL, FALSE, "umbra-left");
    CHECK(start(self, "mutex", 0) && finish() == 8 && WaitForSingleObject(mutex, 1000) == WAIT_ABANDONED);
    HANDLE both[2];
    CHECK(start(self, "code 1", 0));
    both[0] = info.hProcess;
    both[1] = info.hThread;
    CHECK(WaitForMultipleObjects(2, both, TRUE, 30000) == WAIT_OBJECT_0);
    /* Handles are the process's own. */
    for (int i = 0; i < 100; i++) event = CreateEventA(NULL, FALSE, TRUE, NULL);
    wsprintfA(words, "handle %d", (int)(INT_PTR)event);
    CHECK(start(self, words, 0) && finish() == WAIT_FAILED);
}

static BOOL find(const char *name, PROCESSENTRY32 *entry) {
    HANDLE snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0);
    entry->dwSize = sizeof *entry;
    for (BOOL more = Process32First(snapshot, entry); more; more = Process32Next(snapshot, entry))
        if (lstrcmpiA(entry->szExeFile, name) == 0) return CloseHandle(snapshot);
    CloseHandle(snapshot);
    return FALSE;
}

static void system_wide(void) {
    PROCESSENTRY32 entry;
    MODULEENTRY32 module = { sizeof module };
    DWORD numbers[64], needed = 0;
    HMODULE modules[64];
    char text[MAX_PATH];
    CHECK(find("explorer.exe", &entry) && entry.cntThreads >= 1);
    DWORD explorer = entry.th32ProcessID;
    CHECK(find("processes.exe", &entry) && entry.th32ProcessID == GetCurrentProcessId() && entry.th32ParentProcessID == explorer);
    CHECK(find("lsass.exe", &entry) && OpenProcess(PROCESS_ALL_ACCESS, FALSE, entry.th32ProcessID) == NULL && GetLastError() == ERROR_ACCESS_DENIED);
    CHECK(OpenProcess(PROCESS_ALL_ACCESS, FALSE, 0xfff0) == NULL && GetLastError() == ERROR_INVALID_PARAMETER);
    HANDLE process = OpenProcess(PROCESS_ALL_ACCESS, FALSE, explorer);
    CHECK(process && EnumProcesses(numbers, sizeof numbers, &needed) && needed > 40 && GetModuleBaseNameA(process, NULL, text, sizeof text) && lstrcmpiA(text, "explorer.exe") == 0);
    CHECK(EnumProcessModules(process, modules, sizeof modules, &needed) && needed >= 12 && GetModuleFileNameExA(process, modules[1], text, sizeof text) && strstr(text, "ntdll.dll"));
    CHECK(GetProcessImageFileNameA(process, text, sizeof text) && strcmp(text, "\\Device\\HarddiskVolume2\\Windows\\explorer.exe") == 0);
    HANDLE snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPMODULE, explorer);
    CHECK(Module32First(snapshot, &module) && module.th32ProcessID == explorer && lstrcmpiA(module.szModule, "explorer.exe") == 0 && module.modBaseAddr == (BYTE *)modules[0]);
    CHECK(start("notepad.exe", "file.txt", 0) && WaitForSingleObject(info.hProcess, 100) == WAIT_TIMEOUT && find("notepad.exe", &entry) && entry.th32ParentProcessID == GetCurrentProcessId());
    CHECK(TerminateProcess(info.hProcess, 0) && finish() == 0 && !find("notepad.exe", &entry));
}

int main(int count, char **words) {
    GetModuleFileNameA(NULL, self, sizeof self);
    if (count > 1) return child(count, words);
    itself();
    dropped();
    memory();
    objects();
    system_wide();
    FINISH();
    return failures;
}
