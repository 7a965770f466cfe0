/* SPDX-License-Identifier: Apache-2.0 */
/* A file and registry utility of wide characters: installs itself, lists, copies, finds, removes. */
#define UNICODE
#define _UNICODE
#include <windows.h>
#include <shlobj.h>
#include <shlwapi.h>
#include <stdio.h>

int wmain(int count, wchar_t **words) {
    WCHAR self[MAX_PATH], folder[MAX_PATH], target[MAX_PATH], text[MAX_PATH];
    WIN32_FIND_DATAW found;
    HKEY key;
    DWORD type, size = sizeof text, done, files = 0;
    GetModuleFileNameW(NULL, self, MAX_PATH);
    SHGetFolderPathW(NULL, CSIDL_APPDATA, NULL, 0, folder);
    PathCombineW(target, folder, L"Updater");
    CreateDirectoryW(target, NULL);
    PathAppendW(target, L"updater.exe");
    printf("copy %d\n", CopyFileW(self, target, FALSE));
    printf("key %ld\n", RegCreateKeyExW(HKEY_CURRENT_USER, L"Software\\Microsoft\\Windows\\CurrentVersion\\Run", 0, NULL, 0, KEY_ALL_ACCESS, NULL, &key, NULL));
    printf("value %ld\n", RegSetValueExW(key, L"Updater", 0, REG_SZ, (BYTE *)target, (lstrlenW(target) + 1) * 2));
    LONG went = RegQueryValueExW(key, L"Updater", NULL, &type, (BYTE *)text, &size);
    printf("query %ld %d\n", went, lstrcmpW(text, target));
    printf("delete %ld\n", RegDeleteValueW(key, L"Updater"));
    RegCloseKey(key);
    SetFileAttributesW(target, FILE_ATTRIBUTE_HIDDEN | FILE_ATTRIBUTE_SYSTEM);
    printf("attributes %lx\n", GetFileAttributesW(target) & 6);
    PathRemoveFileSpecW(target);
    lstrcpyW(text, target);
    PathAppendW(text, L"*.*");
    HANDLE search = FindFirstFileW(text, &found);
    if (search != INVALID_HANDLE_VALUE) do files += !(found.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY); while (FindNextFileW(search, &found));
    FindClose(search);
    printf("files %lu\n", files);
    PathAppendW(target, L"log.txt");
    HANDLE log = CreateFileW(target, GENERIC_READ | GENERIC_WRITE, 0, NULL, CREATE_NEW, FILE_ATTRIBUTE_NORMAL, NULL);
    for (int i = 0; i < 100; i++) WriteFile(log, "0123456789", 10, &done, NULL);
    SetFilePointer(log, 500, NULL, FILE_BEGIN);
    SetEndOfFile(log);
    HANDLE mapping = CreateFileMappingW(log, NULL, PAGE_READONLY, 0, 0, NULL);
    char *view = MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0);
    printf("mapped %lu %c\n", GetFileSize(log, NULL), view ? view[499] : '?');
    UnmapViewOfFile(view);
    CloseHandle(mapping);
    CloseHandle(log);
    printf("private %d\n", WritePrivateProfileStringW(L"section", L"name", L"value", L"C:\\Users\\user\\settings.ini"));
    GetPrivateProfileStringW(L"section", L"name", L"", text, MAX_PATH, L"C:\\Users\\user\\settings.ini");
    printf("profile %d\n", lstrcmpW(text, L"value"));
    GetTempPathW(MAX_PATH, folder);
    printf("temporary %d\n", GetTempFileNameW(folder, L"upd", 0, text) != 0 && PathFileExistsW(text) && DeleteFileW(text));
    printf("move %d\n", MoveFileExW(target, L"C:\\Users\\user\\moved.txt", MOVEFILE_REPLACE_EXISTING) && !PathFileExistsW(target));
    ExpandEnvironmentStringsW(L"%windir%\\x", text, MAX_PATH);
    printf("expand %d\n", lstrcmpiW(text, L"C:\\Windows\\x"));
    wprintf(L"%ls %d\n", PathFindFileNameW(self), count);
    return 0;
}
