/* SPDX-License-Identifier: Apache-2.0 */
/* kernel32: memory, files, strings, time, synchronisation, environment, as documented. */
#define _WIN32_WINNT 0x0601
#include "check.h"
#include <tlhelp32.h>
#include <string.h>

static DWORD WINAPI count(void *argument) {
    CRITICAL_SECTION *section = argument;
    EnterCriticalSection(section);
    Sleep(5);
    LeaveCriticalSection(section);
    return 42;
}

static void memory(void) {
    DWORD old = 0;
    MEMORY_BASIC_INFORMATION info;
    char *page = VirtualAlloc(NULL, 0x3000, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    CHECK(page != NULL && ((DWORD)page & 0xffff) == 0);
    page[0x2fff] = 7;
    CHECK(VirtualProtect(page + 0x1000, 10, PAGE_READONLY, &old) && old == PAGE_READWRITE);
    CHECK(VirtualQuery(page + 0x1234, &info, sizeof info) == sizeof info);
    CHECK(info.BaseAddress == page + 0x1000 && info.RegionSize == 0x1000 && info.Protect == PAGE_READONLY);
    CHECK(info.AllocationBase == page && info.Type == MEM_PRIVATE && info.State == MEM_COMMIT);
    CHECK(IsBadWritePtr(page + 0x1000, 1) && !IsBadReadPtr(page + 0x1000, 1));
    SIZE_T moved = 0;
    CHECK(WriteProcessMemory(GetCurrentProcess(), page + 0x1000, "abc", 3, &moved) == FALSE || moved == 3);
    CHECK(!VirtualFree(page, 0x1000, MEM_RELEASE) && GetLastError() == ERROR_INVALID_PARAMETER);
    CHECK(VirtualFree(page, 0, MEM_RELEASE));
    CHECK(VirtualProtect((void *)0x10, 1, PAGE_READONLY, NULL) == FALSE);
    HANDLE heap = HeapCreate(0, 0, 0);
    char *block = HeapAlloc(heap, HEAP_ZERO_MEMORY, 100);
    CHECK(block && block[99] == 0 && HeapSize(heap, 0, block) == 100);
    block[5] = 9;
    block = HeapReAlloc(heap, 0, block, 5000);
    CHECK(block && block[5] == 9 && HeapFree(heap, 0, block) && HeapDestroy(heap));
    HGLOBAL global = GlobalAlloc(GHND, 64);
    char *locked = GlobalLock(global);
    CHECK(locked && locked[63] == 0 && GlobalSize(global) >= 64);
    GlobalUnlock(global);
    CHECK(GlobalFree(global) == NULL);
    CHECK(LocalFree(LocalAlloc(LPTR, 10)) == NULL);
    CHECK(IsBadReadPtr((void *)0x1000, 4) && IsBadStringPtrA(NULL, 5));
}

static void files(void) {
    DWORD done = 0, high = 0;
    char path[MAX_PATH], name[MAX_PATH], buffer[64];
    CHECK(GetTempPathA(sizeof path, path) > 3 && path[strlen(path) - 1] == '\\');
    CHECK(GetTempFileNameA(path, "umb", 0, name) != 0);
    HANDLE file = CreateFileA(name, GENERIC_READ | GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);
    CHECK(file != INVALID_HANDLE_VALUE && GetLastError() == ERROR_ALREADY_EXISTS);
    CHECK(WriteFile(file, "hello world", 11, &done, NULL) && done == 11);
    CHECK(SetFilePointer(file, -5, NULL, FILE_END) == 6 && ReadFile(file, buffer, 64, &done, NULL) && done == 5);
    CHECK(memcmp(buffer, "world", 5) == 0 && GetFileSize(file, &high) == 11 && high == 0);
    CHECK(SetFilePointer(file, -50, NULL, FILE_BEGIN) == INVALID_SET_FILE_POINTER && GetLastError() == ERROR_NEGATIVE_SEEK);
    HANDLE mapping = CreateFileMappingA(file, NULL, PAGE_READONLY, 0, 0, NULL);
    char *view = MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0);
    CHECK(view && memcmp(view, "hello", 5) == 0);
    CHECK(UnmapViewOfFile(view) && CloseHandle(mapping));
    SetFilePointer(file, 5, NULL, FILE_BEGIN);
    CHECK(SetEndOfFile(file) && GetFileSize(file, NULL) == 5 && GetFileType(file) == FILE_TYPE_DISK);
    CHECK(CloseHandle(file) && !CloseHandle(file) && GetLastError() == ERROR_INVALID_HANDLE);
    WIN32_FIND_DATAA data;
    HANDLE find = FindFirstFileA(name, &data);
    CHECK(find != INVALID_HANDLE_VALUE && data.nFileSizeLow == 5);
    FindClose(find);
    strcpy(path, name);
    strcat(path, ".copy");
    CHECK(CopyFileA(name, path, TRUE) && !CopyFileA(name, path, TRUE) && GetLastError() == ERROR_FILE_EXISTS);
    CHECK(DeleteFileA(name) && GetFileAttributesA(name) == INVALID_FILE_ATTRIBUTES);
    CHECK(MoveFileA(path, name) && DeleteFileA(name) && !DeleteFileA(name) && GetLastError() == ERROR_FILE_NOT_FOUND);
    CHECK(CreateFileA("C:\\no\\such\\file", GENERIC_READ, 0, NULL, OPEN_EXISTING, 0, NULL) == INVALID_HANDLE_VALUE);
    CHECK(GetLastError() == ERROR_PATH_NOT_FOUND);
    CHECK(GetModuleFileNameA(NULL, name, sizeof name) > 0);
    file = CreateFileA(name, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
    CHECK(file != INVALID_HANDLE_VALUE && ReadFile(file, buffer, 2, &done, NULL) && buffer[0] == 'M' && buffer[1] == 'Z');
    CloseHandle(file);
    CHECK(GetModuleFileNameA(NULL, name, 4) == 4 && GetLastError() == ERROR_INSUFFICIENT_BUFFER);
    CHECK(GetDriveTypeA("C:\\") == DRIVE_FIXED && GetFileAttributesA("C:\\Windows") == FILE_ATTRIBUTE_DIRECTORY);
    char *part = NULL;
    CHECK(GetFullPathNameA("x.txt", sizeof name, name, &part) > 5 && strcmp(part, "x.txt") == 0);
    HANDLE read_end, write_end;
    CHECK(CreatePipe(&read_end, &write_end, NULL, 0) && WriteFile(write_end, "pipe", 4, &done, NULL));
    CHECK(ReadFile(read_end, buffer, 64, &done, NULL) && done == 4 && memcmp(buffer, "pipe", 4) == 0);
    WritePrivateProfileStringA("sec", "key", "value", "C:\\Windows\\Temp\\t.ini");
    CHECK(GetPrivateProfileStringA("sec", "key", "", buffer, 64, "C:\\Windows\\Temp\\t.ini") == 5);
    CHECK(strcmp(buffer, "value") == 0 && GetPrivateProfileIntA("sec", "none", 7, "C:\\Windows\\Temp\\t.ini") == 7);
}

static void strings(void) {
    char buffer[64];
    WCHAR wide[64];
    WORD types[4];
    CHECK(lstrlenA(NULL) == 0 && lstrlenA("abc") == 3 && lstrlenW(L"abcd") == 4);
    CHECK(lstrcmpiA("ABC", "abc") == 0 && lstrcmpA("a", "b") < 0);
    CHECK(lstrcpynA(buffer, "abcdef", 4) == buffer && strcmp(buffer, "abc") == 0);
    CHECK(MultiByteToWideChar(CP_ACP, 0, "h\xe9", -1, wide, 64) == 3 && wide[1] == 0xe9);
    CHECK(MultiByteToWideChar(CP_UTF8, 0, "\xc3\xa9", 2, wide, 64) == 1 && wide[0] == 0xe9);
    CHECK(WideCharToMultiByte(CP_ACP, 0, L"\x20ac!", -1, buffer, 64, NULL, NULL) == 3 && (BYTE)buffer[0] == 0x80);
    CHECK(WideCharToMultiByte(CP_UTF8, 0, L"\x20ac", 1, NULL, 0, NULL, NULL) == 3);
    CHECK(MultiByteToWideChar(CP_ACP, 0, "abc", 3, wide, 2) == 0 && GetLastError() == ERROR_INSUFFICIENT_BUFFER);
    CHECK(GetStringTypeW(CT_CTYPE1, L"aZ1 ", 4, types));
    CHECK((types[0] & C1_LOWER) && (types[1] & C1_UPPER) && (types[2] & C1_DIGIT) && (types[3] & C1_SPACE));
    CHECK(LCMapStringA(LOCALE_USER_DEFAULT, LCMAP_UPPERCASE, "abc", -1, buffer, 64) == 4 && strcmp(buffer, "ABC") == 0);
    CHECK(CompareStringA(LOCALE_USER_DEFAULT, NORM_IGNORECASE, "abC", -1, "ABc", -1) == CSTR_EQUAL);
    CPINFO page;
    CHECK(GetCPInfo(CP_ACP, &page) && page.MaxCharSize == 1 && GetACP() == 1252);
    CHECK(GetLocaleInfoA(LOCALE_USER_DEFAULT, LOCALE_SDECIMAL, buffer, 64) == 2 && buffer[0] == '.');
    CHECK(FormatMessageA(FORMAT_MESSAGE_FROM_SYSTEM, NULL, 5, 0, buffer, 64, NULL) > 10 && buffer[0] == 'A');
    CHECK(MulDiv(10, 3, 4) == 8 && MulDiv(-10, 3, 4) == -8 && MulDiv(1, 1, 0) == -1);
    CHECK(SetEnvironmentVariableA("UMBRA", "x1") && GetEnvironmentVariableA("umbra", buffer, 64) == 2);
    CHECK(ExpandEnvironmentStringsA("<%UMBRA%>", buffer, 64) == 5 && strcmp(buffer, "<x1>") == 0);
    CHECK(GetEnvironmentVariableA("NO_SUCH", buffer, 64) == 0 && GetLastError() == ERROR_ENVVAR_NOT_FOUND);
    ATOM atom = GlobalAddAtomA("umbra-atom");
    CHECK(atom >= 0xc000 && GlobalFindAtomA("UMBRA-ATOM") == atom && GlobalGetAtomNameA(atom, buffer, 64) == 10);
}

static void times(void) {
    SYSTEMTIME time = { 2010, 11, 0, 21, 3, 24, 0, 0 }, back;
    FILETIME file;
    WORD date, clock;
    CHECK(SystemTimeToFileTime(&time, &file) && FileTimeToSystemTime(&file, &back));
    CHECK(back.wYear == 2010 && back.wMonth == 11 && back.wDay == 21 && back.wDayOfWeek == 0 && back.wHour == 3);
    CHECK(FileTimeToDosDateTime(&file, &date, &clock) && date == ((30 << 9) | (11 << 5) | 21));
    time.wMonth = 13;
    CHECK(!SystemTimeToFileTime(&time, &file));
    DWORD start = GetTickCount();
    ULONGLONG wide_start = GetTickCount64();
    Sleep(300);
    CHECK(GetTickCount() - start >= 290 && GetTickCount64() - wide_start >= 290);
    LARGE_INTEGER counter, frequency;
    CHECK(QueryPerformanceFrequency(&frequency) && QueryPerformanceCounter(&counter) && frequency.QuadPart > 0);
    char buffer[64];
    time.wMonth = 11;
    CHECK(GetDateFormatA(LOCALE_USER_DEFAULT, 0, &time, "yyyy-MM-dd", buffer, 64) == 11);
    CHECK(strcmp(buffer, "2010-11-21") == 0);
}

static void synchronisation(void) {
    CRITICAL_SECTION section;
    DWORD code = 0;
    InitializeCriticalSection(&section);
    EnterCriticalSection(&section);
    EnterCriticalSection(&section);
    HANDLE threads[2] = { CreateThread(NULL, 0, count, &section, 0, NULL), CreateThread(NULL, 0, count, &section, 0, NULL) };
    CHECK(WaitForSingleObject(threads[0], 20) == WAIT_TIMEOUT);
    LeaveCriticalSection(&section);
    LeaveCriticalSection(&section);
    CHECK(WaitForMultipleObjects(2, threads, TRUE, INFINITE) == WAIT_OBJECT_0);
    CHECK(GetExitCodeThread(threads[1], &code) && code == 42);
    DeleteCriticalSection(&section);
    HANDLE event = CreateEventA(NULL, TRUE, FALSE, "umbra-event");
    CHECK(event && WaitForSingleObject(event, 0) == WAIT_TIMEOUT && SetEvent(event));
    CHECK(WaitForSingleObject(event, 0) == WAIT_OBJECT_0 && ResetEvent(event));
    HANDLE again = OpenEventA(EVENT_ALL_ACCESS, FALSE, "umbra-event");
    CHECK(again != NULL && OpenEventA(EVENT_ALL_ACCESS, FALSE, "no-such-event") == NULL);
    HANDLE mutex = CreateMutexA(NULL, TRUE, "umbra-mutex");
    CHECK(mutex && GetLastError() == 0 && CreateMutexA(NULL, FALSE, "umbra-mutex") && GetLastError() == ERROR_ALREADY_EXISTS);
    CHECK(ReleaseMutex(mutex) && !ReleaseMutex(mutex));
    HANDLE semaphore = CreateSemaphoreA(NULL, 1, 2, NULL);
    LONG previous = -1;
    CHECK(WaitForSingleObject(semaphore, 0) == WAIT_OBJECT_0 && ReleaseSemaphore(semaphore, 2, &previous) && previous == 0);
    CHECK(!ReleaseSemaphore(semaphore, 1, NULL));
    DWORD slot = TlsAlloc();
    CHECK(slot != TLS_OUT_OF_INDEXES && TlsSetValue(slot, (void *)5) && TlsGetValue(slot) == (void *)5 && TlsFree(slot));
    LONG value = 5;
    CHECK(InterlockedIncrement(&value) == 6 && InterlockedExchange(&value, 9) == 6 && InterlockedCompareExchange(&value, 1, 9) == 9 && value == 1);
    CHECK(WaitForSingleObject((HANDLE)0x7777, 0) == WAIT_FAILED && GetLastError() == ERROR_INVALID_HANDLE);
}

static void modules(void) {
    HMODULE kernel = GetModuleHandleA("KERNEL32");
    CHECK(kernel && kernel == LoadLibraryA("kernel32.DLL") && GetProcAddress(kernel, "VirtualAlloc") == (FARPROC)VirtualAlloc);
    CHECK(GetProcAddress(kernel, "NoSuchFunction") == NULL && GetLastError() == ERROR_PROC_NOT_FOUND);
    CHECK(GetModuleHandleA("SbieDll.dll") == NULL && LoadLibraryA("nosuch.dll") == NULL && GetLastError() == ERROR_MOD_NOT_FOUND);
    CHECK(GetProcAddress(kernel, "GetSystemTimePreciseAsFileTime") == NULL);
    CHECK(GetProcAddress(kernel, "HeapAlloc") == GetProcAddress(GetModuleHandleA("ntdll"), "RtlAllocateHeap"));
    HANDLE snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0);
    PROCESSENTRY32 entry = { sizeof entry };
    int mine = 0;
    for (BOOL more = Process32First(snapshot, &entry); more; more = Process32Next(snapshot, &entry))
        mine += entry.th32ProcessID == GetCurrentProcessId();
    CHECK(mine == 1);
    OSVERSIONINFOA version = { sizeof version };
    CHECK(GetVersionExA(&version) && version.dwMajorVersion == 6 && version.dwMinorVersion == 1 && version.dwBuildNumber == 7601);
    OSVERSIONINFOEXA wanted = { sizeof wanted, 6, 1 };
    ULONGLONG mask = VerSetConditionMask(VerSetConditionMask(0, VER_MAJORVERSION, VER_GREATER_EQUAL), VER_MINORVERSION, VER_GREATER_EQUAL);
    CHECK(VerifyVersionInfoA(&wanted, VER_MAJORVERSION | VER_MINORVERSION, mask));
    wanted.dwMinorVersion = 2;
    CHECK(!VerifyVersionInfoA(&wanted, VER_MAJORVERSION | VER_MINORVERSION, mask) && GetLastError() == ERROR_OLD_WIN_VERSION);
    CHECK(!IsDebuggerPresent() && DecodePointer(EncodePointer((void *)0x1234)) == (void *)0x1234);
    STARTUPINFOA startup;
    GetStartupInfoA(&startup);
    CHECK(startup.cb == sizeof startup && startup.dwX == 0);
}

int main(void) {
    memory();
    files();
    strings();
    times();
    synchronisation();
    modules();
    FINISH();
    return failures;
}
